// What Go's context_test asserts, each under its name there, in our own words.
#include <algorithm>
#include <bulkhead/sched/context.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/timer.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <deque>
#include <memory>
#include <random>
#include <string>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

const ContextKey<std::string> kFirst, kSecond, kThird;
const ContextKey<std::shared_ptr<int>> kHeld;

bool running(const Context& context) {
  bool silent = true;
  select(receive(context.done(), [&](auto) { silent = false; }), otherwise([] {}));
  EXPECT_EQ(context.error().has_value(), silent) << "done() and error() do not agree";
  return silent;
}

// Not running, and for that reason.
bool over(const Context& context, Code code) {
  return !running(context) && context.error().error().code == code;
}

using GoContext = EverywhereTest;

TEST_P(GoContext, TestBackground) {
  run([] {
    EXPECT_EQ(Context().done(), nullptr);
    EXPECT_TRUE(running(Context()));
  });
}

// Cancelling is seen by all below as soon as cancel() returns.
TEST_P(GoContext, TestWithCancel) {
  run([] {
    CancelScope scope = with_cancel({});
    const Context value = with_value(scope.context(), kFirst, std::string("1"));
    const CancelScope below = with_cancel(value);
    const std::array contexts{scope.context(), value, below.context()};
    for (const Context& context : contexts) {
      EXPECT_NE(context.done(), nullptr);
      EXPECT_TRUE(running(context));
    }
    scope.cancel();
    for (const Context& context : contexts) EXPECT_TRUE(over(context, Code::kCancelled));
  });
}

TEST_P(GoContext, TestParentFinishesChild) {
  run([] {
    CancelScope parent = with_cancel({});
    const CancelScope cancel_child = with_cancel(parent.context());
    const Context value_child = with_value(parent.context(), kFirst, std::string("1"));
    const CancelScope timer_child = with_timeout(value_child, 1h);
    const std::array contexts{parent.context(), cancel_child.context(), value_child,
                              timer_child.context()};
    for (const Context& context : contexts) EXPECT_TRUE(running(context));
    parent.cancel();
    for (const Context& context : contexts) EXPECT_TRUE(over(context, Code::kCancelled));
    EXPECT_TRUE(over(with_value(parent.context(), kFirst, std::string("1")), Code::kCancelled));
  });
}

TEST_P(GoContext, TestChildFinishesFirst) {
  run([] {
    const CancelScope scope = with_cancel({});
    for (const Context& parent : {Context(), scope.context()}) {
      CancelScope child = with_cancel(parent);
      EXPECT_TRUE(running(child.context()));
      child.cancel();
      EXPECT_TRUE(over(child.context(), Code::kCancelled));
      EXPECT_TRUE(running(parent));
    }
  });
}

TEST_P(GoContext, TestDeadline) {
  run([] {
    const auto expires = [](const Context& context) {
      context.done()->receive();
      EXPECT_GE(base::Clock::now(), *context.deadline());
      EXPECT_TRUE(over(context, Code::kTimedOut));
    };
    const CancelScope soon = with_deadline({}, base::Clock::now() + 5ms);
    const Context value = with_value(soon.context(), kFirst, std::string("1"));
    const CancelScope below = with_deadline(value, base::Clock::now() + 1h);
    expires(below.context());
    expires(value);
    expires(soon.context());
    expires(with_deadline({}, base::Clock::now() - 5ms).context());
    expires(with_deadline({}, base::Clock::now()).context());
  });
}

TEST_P(GoContext, TestTimeout) {
  run([] {
    const base::TimePoint start = base::Clock::now();
    const CancelScope soon = with_timeout({}, 5ms);
    const CancelScope below =
        with_timeout(with_value(soon.context(), kFirst, std::string("1")), 1h);
    below.context().done()->receive();
    EXPECT_GE(base::Clock::now(), start + 5ms);
    EXPECT_TRUE(over(below.context(), Code::kTimedOut));
    EXPECT_TRUE(over(soon.context(), Code::kTimedOut));
  });
}

TEST_P(GoContext, TestCanceledTimeout) {
  run([] {
    const CancelScope outer = with_timeout({}, 1h);
    CancelScope inner = with_timeout(with_value(outer.context(), kFirst, std::string("1")), 2h);
    inner.cancel();
    EXPECT_TRUE(over(inner.context(), Code::kCancelled));
    EXPECT_TRUE(running(outer.context()));
  });
}

TEST_P(GoContext, TestValues) {
  run([] {
    const auto check = [](const Context& context, std::string first, std::string second,
                          std::string third) {
      const auto text = [&](const ContextKey<std::string>& key) {
        const std::string* value = context.value(key);
        return value == nullptr ? "" : *value;
      };
      EXPECT_EQ(text(kFirst), first);
      EXPECT_EQ(text(kSecond), second);
      EXPECT_EQ(text(kThird), third);
    };
    check({}, "", "", "");
    const Context one = with_value({}, kFirst, std::string("1"));
    check(one, "1", "", "");
    const Context two = with_value(one, kSecond, std::string("2"));
    check(two, "1", "2", "");
    const Context three = with_value(two, kThird, std::string("3"));
    check(three, "1", "2", "3");
    check(with_value(three, kFirst, std::string()), "", "2", "3");
    check(three, "1", "2", "3");
    const CancelScope scope = with_cancel(three);
    check(with_value(scope.context(), kSecond, std::string("other")), "1", "other", "3");
  });
}

// A tree of a hundred, all cancelled at the same time by goroutines of their own.
TEST_P(GoContext, TestSimultaneousCancels) {
  run([this] {
    const std::size_t count = threads() ? 40 : 100;
    std::deque<CancelScope> tree;  // the parent of each: a quarter of its place
    for (std::size_t i = 0; i < count; ++i)
      tree.push_back(with_cancel(i == 0 ? Context() : tree[(i - 1) / 4].context()));
    std::vector<CancelScope*> order;
    for (CancelScope& scope : tree) order.push_back(&scope);
    std::shuffle(order.begin(), order.end(), std::minstd_rand(1));
    WaitGroup cancelled;
    cancelled.add(static_cast<std::int64_t>(count));
    for (CancelScope* const scope : order)
      go([&, scope] {
        scope->cancel();
        cancelled.done();
      });
    std::shuffle(order.begin(), order.end(), std::minstd_rand(2));
    for (const CancelScope* const scope : order) scope->context().done()->receive();
    cancelled.wait();
  });
}

// One that is told of its parent's end cancels the child that ends with the parent anyway.
TEST_P(GoContext, TestInterlockedCancels) {
  run([this] {
    for (int i = 0; i < loops() / 10; ++i) {
      CancelScope parent = with_cancel({});
      CancelScope child = with_cancel(parent.context());
      WaitGroup group;
      group.add();
      go([&] {
        parent.context().done()->receive();
        child.cancel();
        group.done();
      });
      parent.cancel();
      child.context().done()->receive();
      group.wait();
    }
  });
}

// Thirty layers of values, cancellations and timeouts in random order.
struct Layers {
  Layers(unsigned seed, base::Duration timeout) {
    std::minstd_rand random(seed);
    for (int i = 0; i < 30 || scopes.empty() || timers == 0 || values.empty(); ++i) {
      switch (random() / 16 % 3) {
        case 0:
          values.push_back(i);
          context = with_value(context, keys.emplace_back(), i);
          break;
        case 1:
          context = scopes.emplace_back(with_cancel(context)).context();
          break;
        default:
          context = scopes.emplace_back(with_timeout(context, timeout)).context();
          ++timers;
      }
    }
  }
  void check_values() const {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const int* const found = context.value(keys[i]);
      EXPECT_TRUE(found != nullptr && *found == values[i]) << i;
    }
  }

  std::deque<ContextKey<int>> keys;
  std::vector<int> values;
  std::deque<CancelScope> scopes;
  int timers = 0;
  Context context;
};

TEST_P(GoContext, TestLayersCancel) {
  run([] {
    for (unsigned seed = 1; seed <= 10; ++seed) {
      Layers layers(seed, 1h);
      EXPECT_TRUE(running(layers.context)) << "seed " << seed;
      layers.check_values();
      layers.scopes[seed % layers.scopes.size()].cancel();
      EXPECT_TRUE(over(layers.context, Code::kCancelled)) << "seed " << seed;
      layers.check_values();
    }
  });
}

TEST_P(GoContext, TestLayersTimeout) {
  run([] {
    for (unsigned seed = 1; seed <= 10; ++seed) {
      const Layers layers(seed, 1ms);
      layers.check_values();
      layers.context.done()->receive();
      EXPECT_TRUE(over(layers.context, Code::kTimedOut)) << "seed " << seed;
      layers.check_values();
    }
  });
}

// A context that has ended is not kept by the one above it.
TEST_P(GoContext, TestCancelRemoves) {
  run([] {
    const CancelScope parent = with_cancel({});
    const auto held = std::make_shared<int>(1);
    for (const bool timed : {false, true}) {
      const Context value = with_value(parent.context(), kHeld, held);
      CancelScope child = timed ? with_timeout(value, 1h) : with_cancel(value);
      EXPECT_EQ(held.use_count(), 2);
      child.cancel();
    }
    EXPECT_EQ(held.use_count(), 1);
    EXPECT_TRUE(running(parent.context()));
  });
}

TEST_P(GoContext, TestWithCancelCanceledParent) {
  run([] {
    CancelScope parent = with_cancel({});
    parent.cancel();
    EXPECT_TRUE(over(with_cancel(parent.context()).context(), Code::kCancelled));
    EXPECT_TRUE(over(with_timeout(parent.context(), 1h).context(), Code::kCancelled));
  });
}

// Of two that end a context the first gives the cause, whether it is above or below.
TEST_P(GoContext, TestCause) {
  run([] {
    const auto cause_of = [](const CancelScope& scope) {
      const Result<void> cause = scope.context().cause();
      return cause ? std::string("none") : cause.error().text;
    };
    const Error above{Code::kUnavailable, "above"}, below{Code::kUnavailable, "below"};
    for (const bool parent_first : {false, true}) {
      CancelScope parent = with_cancel({});
      CancelScope child = with_cancel(parent.context());
      EXPECT_EQ(cause_of(child), "none");
      if (parent_first) parent.cancel(above);
      child.cancel(below);
      parent.cancel(above);
      EXPECT_EQ(cause_of(parent), "above");
      EXPECT_EQ(cause_of(child), parent_first ? "above" : "below");
      EXPECT_TRUE(over(child.context(), Code::kCancelled));
    }
  });
}

BULKHEAD_EVERYWHERE(GoContext);

}  // namespace
}  // namespace bulkhead::sched
