#include "evidence/symbols.hpp"

#include <sys/resource.h>

#include <cstdio>
#include <fstream>
#include <iostream>

#include "evidence/loaded_modules.hpp"

namespace bulkhead::coordinator {
namespace {

v1::NamedStack name_stack(const v1::CrashedStack& stack) {
  const LoadedModules modules(stack);
  const std::vector<std::uint64_t> frames = modules.frames();
  v1::NamedStack named;
  for (std::size_t i = 0; i < frames.size() && named.frames_size() < kMaxTraceFrames; ++i) {
    modules.name(frames[i], i > 0, named);
  }
  while (named.frames_size() > kMaxTraceFrames) named.mutable_frames()->RemoveLast();
  return named;
}

}  // namespace

v1::SymbolAnswer name_frames(const v1::SymbolQuestion& question) {
  v1::SymbolAnswer answer;
  for (const v1::CrashedStack& stack : question.stacks()) *answer.add_stacks() = name_stack(stack);
  return answer;
}

int symbols_main(int argc, char** argv) {
  constexpr rlim_t kSeconds = 20;
  const rlimit no_core{0, 0};
  const rlimit time{kSeconds, kSeconds};
  setrlimit(RLIMIT_CORE, &no_core);
  setrlimit(RLIMIT_CPU, &time);
  v1::SymbolQuestion question;
  std::ifstream file(argc == 3 ? argv[2] : "", std::ios::binary);
  if (!file || !question.ParseFromIstream(&file)) {
    std::fprintf(stderr, "bulkhead: __symbols is for bulkhead's own use\n");
    return 2;
  }
  return name_frames(question).SerializeToOstream(&std::cout) && std::cout.flush() ? 0 : 1;
}

}  // namespace bulkhead::coordinator
