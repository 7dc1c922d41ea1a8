// A private directory and the waiting that every test of a transport needs.
#pragma once

#include <gtest/gtest.h>

#include <bulkhead/base/clock.hpp>
#include <bulkhead/transport/zmq.hpp>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace bulkhead::transport {

inline constexpr std::chrono::seconds kDeadline{60};

class TransportTest : public testing::Test {
 protected:
  TransportTest() {
    // Short, so that the tests of long paths alone have long paths.
    std::string pattern = "/tmp/bulkhead-transport-XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  ~TransportTest() override {
    std::error_code ignored;  // what remains of a failed test is only litter
    std::filesystem::remove_all(directory_, ignored);
  }

  Address address() const { return {directory_, "control"}; }

  std::unique_ptr<Router> bound(const Options& options = {}) {
    auto router = Router::bind(address(), options);
    EXPECT_TRUE(router.has_value()) << router.error().text;
    return router ? std::move(*router) : nullptr;
  }
  std::unique_ptr<Dealer> connected(std::string_view identity, const Options& options = {}) {
    auto dealer = Dealer::connect(address(), identity, options);
    EXPECT_TRUE(dealer.has_value()) << dealer.error().text;
    return dealer ? std::move(*dealer) : nullptr;
  }

  // The next message, or nothing after the deadline.
  static std::optional<Message> next(Router& router) {
    return until([&] { return router.receive(); },
                 [&](base::Duration left) { router.wait(-1, left); });
  }
  static std::optional<Message> next(Dealer& dealer) {
    return until([&] { return dealer.receive(); },
                 [&](base::Duration left) { dealer.wait({}, left); });
  }

  std::string directory_;

 private:
  template <class Receive, class Wait>
  static std::optional<Message> until(Receive receive, Wait wait) {
    const auto deadline = base::Clock::now() + kDeadline;
    for (;;) {
      if (auto message = receive()) return message;
      const auto left = deadline - base::Clock::now();
      if (left <= base::Duration::zero()) return std::nullopt;
      wait(left);
    }
  }
};

}  // namespace bulkhead::transport
