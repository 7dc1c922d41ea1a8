// The stock worker: the built-in programs.
#include <bulkhead/worker/worker.hpp>

int main(int argc, char** argv) { return bulkhead::worker::worker_main(argc, argv); }
