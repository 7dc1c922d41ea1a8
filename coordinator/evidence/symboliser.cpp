#include "evidence/symboliser.hpp"

#include <fstream>

#include "errand.hpp"

namespace bulkhead::coordinator {

Result<v1::SymbolAnswer> ask_symboliser(Host& host, Interrupts& interrupts,
                                        const std::string& run_directory,
                                        const v1::SymbolQuestion& question) {
  const std::string path = run_directory + "/crashes";
  std::ofstream file(path, std::ios::binary);
  if (!question.SerializeToOstream(&file) || !file.flush()) {
    return fail(Code::kIoError, "cannot write {}", path);
  }
  Errand errand;
  errand.executable = "/proc/self/exe";  // the launcher's, which is ours
  errand.arguments = {"__symbols", path};
  errand.deadline = std::chrono::seconds(10);
  const ErrandEnd end = run_errand(host, interrupts, errand);
  v1::SymbolAnswer answer;
  if (!end.failure.empty()) return fail(Code::kUnavailable, "the symboliser {}", end.failure);
  if (!answer.ParseFromString(end.output) || answer.stacks_size() != question.stacks_size()) {
    return fail(Code::kProtocolError, "the symboliser gave no whole answer");
  }
  return answer;
}

}  // namespace bulkhead::coordinator
