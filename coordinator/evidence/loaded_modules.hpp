// The files of one crashed process, as libdw sees them: what unwinding and naming start from. With
// its .cpp the only place that knows libdw.
#pragma once

#include <bulkhead/v1/symbols.pb.h>
#include <elfutils/libdwfl.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace bulkhead::coordinator {

class LoadedModules {
 public:
  // Opens those files that are ordinary, ELF, and of the build id told.
  explicit LoadedModules(const v1::CrashedStack& stack);

  // Instruction and return addresses, innermost first, at least the instruction. By unwind tables
  // as far as the copy of the stack goes, then by what frame pointers gave.
  std::vector<std::uint64_t> frames() const;
  // Appends the function at a frame's address, after those that the compiler put into it.
  // `returns`: it is a return address, so that the call is just before it.
  void name(std::uint64_t address, bool returns, v1::NamedStack& into) const;
  bool contains(std::uint64_t address) const;

 private:
  struct End {
    void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
  };

  void report(const v1::Module& module);
  std::vector<std::uint64_t> unwind() const;

  const v1::CrashedStack& stack_;
  std::unique_ptr<Dwfl, End> dwfl_;
};

}  // namespace bulkhead::coordinator
