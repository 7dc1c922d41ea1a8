#include <bulkhead/sched/context.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <string>

#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

using ContextTest = EverywhereTest;
BULKHEAD_EVERYWHERE(ContextTest);

const ContextKey<std::string> kUser;
const ContextKey<int> kDepth, kOther;

Code code_of(const Result<void>& result) { return result ? Code{} : result.error().code; }

TEST_P(ContextTest, TheRootIsNeverOver) {
  run([] {
    const Context root;
    EXPECT_EQ(root.done(), nullptr);
    EXPECT_TRUE(root.error().has_value());
    EXPECT_TRUE(root.cause().has_value());
    EXPECT_FALSE(root.deadline().has_value());
    EXPECT_EQ(root.value(kUser), nullptr);
    bool otherwise_taken = false;
    select(receive(root.done(), [](auto) { FAIL(); }), otherwise([&] { otherwise_taken = true; }));
    EXPECT_TRUE(otherwise_taken);
  });
}

TEST_P(ContextTest, CancellingWakesAllWhoWait) {
  run([this] {
    CancelScope scope = with_cancel({});
    EXPECT_TRUE(scope.context().error().has_value());
    WaitGroup group;
    for (int i = 0; i < 3; ++i) {
      group.add(1);
      go([&group, context = scope.context()] {
        EXPECT_FALSE(context.done()->receive().has_value());
        EXPECT_EQ(code_of(context.error()), Code::kCancelled);
        group.done();
      });
    }
    await_parked(3, ParkReason::kReceive);
    scope.cancel();
    scope.cancel({Code::kInternal, "too late to count"});
    group.wait();
    EXPECT_EQ(code_of(scope.context().cause()), Code::kCancelled);
  });
}

TEST_P(ContextTest, GoesDownTheTreeAndNotUp) {
  run([] {
    CancelScope top = with_cancel({});
    CancelScope left = with_cancel(with_value(top.context(), kDepth, 1));
    CancelScope right = with_cancel(top.context());
    CancelScope below = with_cancel(with_value(left.context(), kDepth, 2));
    const Context apart = without_cancel(below.context());
    left.cancel({Code::kUnavailable, "the left one is gone"});
    EXPECT_TRUE(top.context().error().has_value());
    EXPECT_TRUE(right.context().error().has_value());
    EXPECT_EQ(code_of(below.context().error()), Code::kCancelled);
    EXPECT_EQ(below.context().cause().error().text, "the left one is gone");
    EXPECT_FALSE(below.context().done()->receive().has_value());
    EXPECT_TRUE(apart.error().has_value());
    EXPECT_EQ(apart.done(), nullptr);
    EXPECT_EQ(*apart.value(kDepth), 2) << "the values stay";
    const CancelScope late = with_cancel(below.context());
    EXPECT_EQ(late.context().cause().error().text, "the left one is gone") << "born too late";
  });
}

TEST_P(ContextTest, TheEndOfTheScopeCancels) {
  run([] {
    Context kept;
    {
      CancelScope scope = with_cancel({});
      const CancelScope moved = std::move(scope);
      kept = moved.context();
      EXPECT_TRUE(kept.error().has_value());
    }
    EXPECT_EQ(code_of(kept.error()), Code::kCancelled);
  });
}

TEST_P(ContextTest, ADeadlineIsOverInTimeAndTheEarlierOneCounts) {
  run([] {
    const base::TimePoint before = base::Clock::now();
    const CancelScope outer = with_timeout({}, 10ms);
    const CancelScope inner = with_timeout(outer.context(), 1h);
    EXPECT_EQ(inner.context().deadline(), outer.context().deadline());
    EXPECT_FALSE(inner.context().done()->receive().has_value());
    EXPECT_GE(base::Clock::now(), before + 10ms);
    EXPECT_EQ(code_of(inner.context().error()), Code::kTimedOut);
    EXPECT_EQ(code_of(outer.context().cause()), Code::kTimedOut);

    const CancelScope past = with_deadline({}, before);
    EXPECT_EQ(code_of(past.context().error()), Code::kTimedOut);
    const CancelScope for_ever = with_timeout({}, base::Duration::max());
    EXPECT_TRUE(for_ever.context().error().has_value());
    CancelScope long_one = with_timeout({}, 1h);
    long_one.cancel();
    EXPECT_EQ(code_of(long_one.context().error()), Code::kCancelled);
  });
}

TEST_P(ContextTest, TheNearestValueUnderAKeyIsFound) {
  run([] {
    const Context outer = with_value(with_value({}, kUser, std::string("ann")), kDepth, 1);
    const CancelScope scope = with_cancel(outer);
    const Context inner = with_value(scope.context(), kDepth, 2);
    EXPECT_EQ(*inner.value(kUser), "ann");
    EXPECT_EQ(*inner.value(kDepth), 2);
    EXPECT_EQ(*outer.value(kDepth), 1);
    EXPECT_EQ(inner.value(kOther), nullptr);
  });
}

TEST_P(ContextTest, AfterDoneCallsOnceUnlessItIsStopped) {
  run([] {
    CancelScope scope = with_cancel({});
    Channel<int> called(8);
    const AfterDone first(scope.context(), [&] { called.send(1); });
    AfterDone stopped(scope.context(), [&] { called.send(2); });
    EXPECT_TRUE(stopped.stop());
    EXPECT_FALSE(stopped.stop());
    {
      const AfterDone gone(scope.context(), [&] { called.send(3); });
    }
    scope.cancel();
    EXPECT_EQ(called.receive(), 1);
    AfterDone late(scope.context(), [&] { called.send(4); });
    EXPECT_EQ(called.receive(), 4);
    EXPECT_FALSE(late.stop());
    EXPECT_EQ(called.size(), 0u);
  });
}

TEST_P(ContextTest, AVeryDeepTreeIsCancelledWithoutRecursion) {
  run([] {
    std::vector<CancelScope> scopes;
    scopes.push_back(with_cancel({}));
    for (int i = 0; i < 5000; ++i) scopes.push_back(with_cancel(scopes.back().context()));
    scopes.front().cancel();
    EXPECT_EQ(code_of(scopes.back().context().error()), Code::kCancelled);
    while (!scopes.empty()) scopes.pop_back();
  });
}

// Cancelled from above, by its deadline, by its owner and by its end, all at once.
TEST_P(ContextTest, AnyNumberMayCancelAtTheSameTime) {
  run([this] {
    for (int i = 0; i < loops() / 10; ++i) {
      CancelScope top = with_timeout({}, 30us);
      WaitGroup group;
      group.add(3);
      std::atomic<int> called{0};
      go([&] {
        const CancelScope below = with_cancel(top.context());
        const AfterDone hook(below.context(), [&] { ++called; });
        below.context().done()->receive();
        EXPECT_FALSE(top.context().error().has_value());
        await([&] { return called == 1; });
        group.done();
      });
      go([&] {
        top.cancel();
        group.done();
      });
      go([&] {
        const CancelScope short_lived = with_timeout(top.context(), 10us);
        group.done();
      });
      group.wait();
      EXPECT_EQ(called, 1);
    }
  });
}

}  // namespace
}  // namespace bulkhead::sched
