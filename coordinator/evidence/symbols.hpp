// Names for the addresses of crashes, from the files that were loaded when they happened.
#pragma once

#include <bulkhead/v1/symbols.pb.h>

namespace bulkhead::coordinator {

inline constexpr int kMaxTraceFrames = 32;  // of one stack, inlined functions included

// Unwinds each stack and names its frames. Nothing in a question is trusted: what makes no sense,
// and files that are not there or are others than those loaded, give frames without a name. Reads
// files, and hands them to a library that parsed others before: call it in a process that may crash
// and may be killed (symboliser.hpp).
v1::SymbolAnswer name_frames(const v1::SymbolQuestion& question);

// `bulkhead __symbols FILE`: a SymbolQuestion from the file, the SymbolAnswer on standard output.
int symbols_main(int argc, char** argv);

}  // namespace bulkhead::coordinator
