#include "progress.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>

namespace bulkhead::coordinator {
namespace {
constexpr std::size_t kBarCells = 30;
constexpr const char* kClearLine = "\r\x1b[K";
}  // namespace

void Progress::begin(const std::string& phase) {
  phase_ = phase;
  if (live_) update(0, 0);
  spdlog::info("running {}", phase_);
}

void Progress::update(std::uint64_t done, std::uint64_t known) {
  const std::size_t filled = known == 0 ? 0 : std::min(kBarCells, done * kBarCells / known);
  fmt::print(stderr, "{}{:<24} [{}{}] {} of {} {}", kClearLine, phase_, std::string(filled, '#'),
             std::string(kBarCells - filled, '.'), done, known, noun_);
  std::fflush(stderr);
}

void Progress::end() {
  if (live_) fmt::print(stderr, "{}", kClearLine);
}

}  // namespace bulkhead::coordinator
