// Networks that end badly, each in a way of its own.
#include <signal.h>
#include <unistd.h>

#include <bulkhead/program.hpp>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "support/raw_worker.hpp"

namespace {

namespace program = bulkhead::program;
namespace sched = bulkhead::sched;

// A goroutine that does `bad` once in some schedules: when it runs before its brother.
class Odd {
 public:
  static program::Description describe() {
    program::Parameter bad;
    bad.name = "bad";
    bad.type = program::ParameterType::kText;
    bad.default_value = "no";
    bad.help = "no, throw, check, kill, exit, hang, left, wrong, loud, long, other";
    return {"odd", "two goroutines, one of which may misbehave", false, {bad}};
  }
  explicit Odd(const program::Settings& settings) : bad_(settings.text("bad")) {
    if (bad_ == "refused") throw std::invalid_argument("this network takes no 'refused'");
  }

  program::Answer run() {
    if (bad_ == "loud") std::puts("{ words on standard output\x1b[2J }");
    if (bad_ == "long") {
      for (int i = 0; i < 20'000; ++i) sched::checkpoint();
    }
    sched::WaitGroup group;
    group.add(2);
    bool first = true;
    for (const bool odd : {true, false}) {
      sched::go([this, &group, &first, odd] {
        if (odd && first) misbehave();
        first = false;
        group.done();
      });
    }
    group.wait();
    return {answer_, "the answer is " + answer_};
  }
  program::Answer expected() const { return {"42", "the answer is 42"}; }

 private:
  void misbehave() {
    if (bad_ == "throw") throw std::runtime_error("nobody catches it");
    if (bad_ == "check") BULKHEAD_CHECK(answer_ == "43", "it is {}", answer_);
    if (bad_ == "kill") raise(SIGKILL);
    if (bad_ == "exit") _exit(3);
    if (bad_ == "left") sched::go([] { sched::Channel<int>().receive(); });
    if (bad_ == "wrong") answer_ = "41";
    if (bad_ == "other" && bulkhead::test::sign_is_there("BULKHEAD_TEST_HOLD")) return;
    if (bad_ == "other") {  // the first time only, whatever the schedule
      bulkhead::test::leave_sign("BULKHEAD_TEST_HOLD");
      _exit(4);
    }
    if (bad_ == "hang") {
      bulkhead::test::leave_sign("BULKHEAD_TEST_BEGUN");
      for (;;) pause();
    }
  }

  const std::string bad_;
  std::string answer_ = "42";
};

BULKHEAD_NETWORK(Odd);

}  // namespace
