// Names of C++ as people write them.
#pragma once

#include <cxxabi.h>

#include <cstdlib>
#include <string>

namespace bulkhead::base {

// The name itself where it is none of C++.
inline std::string demangled(const char* name) {
  int status = -1;
  char* const text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string result = status == 0 && text != nullptr ? text : name;
  std::free(text);
  return result;
}

}  // namespace bulkhead::base
