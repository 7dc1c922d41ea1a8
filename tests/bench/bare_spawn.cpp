// What a start costs without bulkhead: spawns N bare programs, linked with the same libraries, and
// waits for one ZeroMQ message from each. Prints the seconds from before the first spawn.
//
// usage: bare-spawn [N]     N children at once (4)
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bulkhead/base/clock.hpp>
#include <bulkhead/program/jobs.hpp>
#include <bulkhead/transport/zmq.hpp>
#include <bulkhead/wire/codec.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace {

namespace transport = bulkhead::transport;
namespace base = bulkhead::base;

int child(const std::string& directory, const std::string& name) {
  auto dealer = transport::Dealer::connect({directory, "c"}, name, {});
  if (!dealer || !(*dealer)->send("hello")) return 1;
  const auto ready = (*dealer)->wait({}, std::chrono::seconds(60));  // until the parent answers
  return ready.messages ? 0 : 1;
}

int parent(const char* self, int children) {
  std::string directory = std::filesystem::temp_directory_path() / "bare-spawn-XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return 1;
  int status = 0;
  {
    auto router = transport::Router::bind({directory, "c"}, {});
    if (!router) return 1;
    const base::TimePoint begin = base::Clock::now();
    std::vector<pid_t> pids;
    for (int i = 0; i < children; ++i) {
      std::string name = std::to_string(i + 1);
      char* arguments[] = {const_cast<char*>(self), directory.data(), name.data(), nullptr};
      pid_t pid = 0;
      if (posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, arguments, environ) != 0) return 1;
      pids.push_back(pid);
    }
    std::vector<std::string> peers;
    while (peers.size() < pids.size()) {
      (*router)->wait(-1, std::chrono::seconds(60));
      while (auto message = (*router)->receive()) peers.push_back(message->peer);
    }
    std::printf("%.6f\n", base::to_seconds(base::Clock::now() - begin));
    for (const std::string& peer : peers) static_cast<void>((*router)->send(peer, "bye"));
    for (const pid_t pid : pids) {
      int ended = 0;
      waitpid(pid, &ended, 0);
      status |= ended;
    }
  }
  std::filesystem::remove_all(directory);
  return status == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3) return child(argv[1], argv[2]);
  return parent(argv[0], argc == 2 ? std::atoi(argv[1]) : 4);
}
