// The coordinator's end of the data plane against peers that this test plays, over every transport
// between processes.
#include "data_plane.hpp"

#include <gmock/gmock.h>
#include <poll.h>

#include <bulkhead/wire/data_message.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <vector>

namespace bulkhead::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using transport::Kind;
using transport::Outcome;

constexpr WorkerKey k1{1, 1};
constexpr WorkerKey k2{2, 1};

class DataPlaneTest : public testing::TestWithParam<Kind>, public DataPlane::Events {
 protected:
  // A worker's end.
  class Worker {
   public:
    Worker(DataPlaneTest& test, std::unique_ptr<transport::Connection> connection)
        : test_(test), connection_(std::move(connection)) {}
    void say(const std::string& bytes) {
      test_.until([&] { return connection_->send(bytes) == Outcome::kDone; });
      test_.until([&] { return connection_->flush() == Outcome::kDone; });
    }
    template <class Message>
    void tell(const Message& message) {
      std::string bytes;
      wire::encode(message, bytes);
      say(bytes);
    }
    void close() {
      test_.until([&] { return connection_->close() == Outcome::kDone; });
    }
    // The next message as it came; "lost" at the end.
    std::string next() {
      std::string_view bytes;
      std::string copy;
      test_.until([&] {
        const Outcome outcome = connection_->receive(bytes);
        copy = outcome == Outcome::kDone ? std::string(bytes) : "lost";
        if (outcome == Outcome::kWait)
          connection_->prepare_to_wait(transport::Side::kReceiver, nobody_);
        return outcome != Outcome::kWait;
      });
      return copy;
    }

   private:
    struct NoWaker final : transport::Waker {
      void wake() override {}
    };

    DataPlaneTest& test_;
    NoWaker nobody_;
    std::unique_ptr<transport::Connection> connection_;
  };

  void SetUp() override {
    std::string pattern = testing::TempDir() + "data-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    auto plane = DataPlane::open(GetParam(), directory_, "data", "token of the run", 0, *this);
    ASSERT_TRUE(plane.has_value()) << plane.error().text;
    plane_ = std::move(*plane);
  }
  void TearDown() override {
    plane_.reset();
    std::filesystem::remove_all(directory_);
  }

  Worker connect(const std::string& token = "token of the run") {
    transport::ConnectionOptions options;
    options.token = token;
    auto connection = transport::connect(GetParam(), directory_, "data", options);
    EXPECT_TRUE(connection.has_value()) << connection.error().text;
    return Worker(*this, std::move(*connection));
  }
  Worker join(WorkerKey key) {
    Worker worker = connect();
    worker.tell(wire::JoinMessage{identity(key), "its token"});
    until([&] { return plane_->has(key); });
    return worker;
  }
  static wire::Identity identity(WorkerKey key) {
    return {"8 bytes.", key.worker, key.incarnation};
  }

  // As the coordinator's loop does: takes what is there, and waits for more.
  void until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "waited in vain";
      pollfd waits{.fd = plane_->fd(), .events = POLLIN, .revents = 0};
      if (!plane_->pending()) poll(&waits, 1, 1);
      plane_->take();
    }
  }

  bool data_joined(const wire::JoinMessage& join) override {
    joins_.push_back(join.identity.worker);
    return join.token == "its token";
  }
  void data_message(WorkerKey key, v1::ToCoordinator&& message) override {
    heard_.emplace_back(key, std::move(message));
  }
  void data_closed(WorkerKey key) override { closed_.push_back(key.worker); }
  void data_lost(WorkerKey key, const std::string& why) override {
    lost_.push_back(std::to_string(key.worker) + ": " + why);
  }

  // All results so far, of whom and in the order in which they came; their credit.
  std::vector<std::uint64_t> results(WorkerKey key, std::uint32_t& credit) const {
    std::vector<std::uint64_t> jobs;
    credit = 0;
    for (const auto& [from, message] : heard_) {
      if (from != key || !message.has_results()) continue;
      credit += message.results().request();
      for (const auto& entry : message.results().results()) jobs.push_back(entry.index());
    }
    return jobs;
  }

  std::string directory_;
  std::unique_ptr<DataPlane> plane_;
  std::vector<std::uint32_t> joins_;
  std::vector<std::pair<WorkerKey, v1::ToCoordinator>> heard_;
  std::vector<std::uint32_t> closed_;
  std::vector<std::string> lost_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, DataPlaneTest,
                         testing::Values(Kind::kZmqIpc, Kind::kUnix, Kind::kShm),
                         [](const auto& kind) {
                           std::string name(transport::name_of(kind.param));
                           std::erase(name, '-');
                           return name;
                         });

TEST_P(DataPlaneTest, ResultsComeInOrderWithTheirCredit) {
  Worker one = join(k1);
  Worker two = join(k2);
  std::vector<std::uint64_t> sent;
  for (std::uint64_t job = 0; job < 3000; ++job) {
    one.tell(wire::ResultMessage{.index = job, .credit = 2, .bytes = "result"});
    if (job % 3 == 0) two.tell(wire::ResultMessage{.index = job, .threw = true, .bytes = "why"});
    sent.push_back(job);
  }
  std::uint32_t credit = 0;
  until([&] { return results(k1, credit).size() == sent.size(); });
  EXPECT_EQ(results(k1, credit), sent);
  EXPECT_EQ(credit, 6000u);
  until([&] { return results(k2, credit).size() == 1000; });
  EXPECT_EQ(credit, 0u);
  for (const auto& [key, message] : heard_) {
    for (const auto& entry : message.results().results()) {
      EXPECT_EQ(entry.result(), key == k1 ? "result" : "");
      EXPECT_EQ(entry.error(), key == k2 ? "why" : "");
    }
  }
  EXPECT_GE(plane_->messages(), 4000u);
}

TEST_P(DataPlaneTest, AnotherMessageKeepsItsPlaceBetweenResults) {
  Worker one = join(k1);
  one.tell(wire::ResultMessage{.index = 1});
  v1::ToCoordinator request;
  request.mutable_request()->set_jobs(5);
  one.tell(request);
  one.tell(wire::ResultMessage{.index = 2});
  std::uint32_t credit = 0;
  until([&] { return results(k1, credit).size() == 2; });
  ASSERT_EQ(heard_.size(), 3u);
  EXPECT_EQ(heard_[0].second.results().results(0).index(), 1u);
  EXPECT_EQ(heard_[1].second.request().jobs(), 5u);
  EXPECT_EQ(heard_[2].second.results().results(0).index(), 2u);
}

TEST_P(DataPlaneTest, JobsArriveAndThoseWithAFaultSayWhich) {
  Worker one = join(k1);
  v1::ToWorker jobs;
  for (std::uint64_t i = 0; i < 3; ++i) {
    v1::Job* job = jobs.mutable_jobs()->add_jobs();
    job->set_index(i);
    job->set_input("input " + std::to_string(i));
    if (i == 1) job->mutable_fault()->set_kind(v1::FAULT_SEGV);
  }
  plane_->send(k1, jobs);
  plane_->flush();
  for (const std::uint64_t index : {0u, 2u}) {
    const std::string bytes = one.next();
    const auto message = wire::decode_data(bytes);
    ASSERT_TRUE(message.has_value());
    const auto* const job = std::get_if<wire::JobMessage>(&*message);
    ASSERT_NE(job, nullptr);
    EXPECT_EQ(job->index, index);
    EXPECT_EQ(job->input, "input " + std::to_string(index));
  }
  const std::string bytes = one.next();
  const auto message = wire::decode_data(bytes);
  ASSERT_TRUE(message.has_value());
  const auto special = wire::decode_to_worker(std::get<wire::ProtobufMessage>(*message).bytes);
  ASSERT_TRUE(special.has_value());
  ASSERT_EQ(special->jobs().jobs_size(), 1);
  EXPECT_EQ(special->jobs().jobs(0).fault().kind(), v1::FAULT_SEGV);
}

// Far beyond what a transport holds: the rest waits here, and nobody else waits for it.
TEST_P(DataPlaneTest, OneThatDoesNotReadKeepsNobodyWaiting) {
  Worker slow = join(k1);
  Worker other = join(k2);
  constexpr int kJobs = 64;
  for (int i = 0; i < kJobs; ++i) {
    v1::ToWorker jobs;
    v1::Job* job = jobs.mutable_jobs()->add_jobs();
    job->set_index(static_cast<std::uint64_t>(i));
    job->set_input(std::string(200'000, static_cast<char>('a' + i % 26)));
    plane_->send(k1, jobs);
    plane_->flush();
  }
  other.tell(wire::ResultMessage{.index = 1});
  std::uint32_t credit = 0;
  until([&] { return results(k2, credit).size() == 1; });
  for (int i = 0; i < kJobs; ++i) {
    const std::string bytes = slow.next();
    const auto message = wire::decode_data(bytes);
    ASSERT_TRUE(message.has_value());
    const auto& job = std::get<wire::JobMessage>(*message);
    EXPECT_EQ(job.index, static_cast<std::uint64_t>(i));
    ASSERT_EQ(job.input, std::string(200'000, static_cast<char>('a' + i % 26)));
  }
  // It is watched as before.
  slow.tell(wire::ResultMessage{.index = 7});
  until([&] { return results(k1, credit).size() == 1; });
}

TEST_P(DataPlaneTest, AWrongTokenJoinsNothing) {
  Worker wrong = connect();
  wrong.tell(wire::JoinMessage{identity(k1), "another's token"});
  EXPECT_EQ(wrong.next(), "lost");
  EXPECT_FALSE(plane_->has(k1));
  Worker silent = connect();
  silent.tell(wire::ResultMessage{.index = 1});
  EXPECT_EQ(silent.next(), "lost");
  EXPECT_THAT(joins_, ElementsAre(1));
  EXPECT_THAT(heard_, IsEmpty());
  EXPECT_THAT(lost_, IsEmpty());  // nobody that anybody knows
  join(k1);
}

TEST_P(DataPlaneTest, WhatIsNoMessageCutsItsSenderOff) {
  Worker one = join(k1);
  Worker two = join(k2);
  one.tell(wire::ResultMessage{.index = 1});
  one.say("\x7f");
  one.tell(wire::ResultMessage{.index = 2});
  until([&] { return !lost_.empty(); });
  EXPECT_THAT(lost_, ElementsAre("1: a message of kind 127"));
  EXPECT_FALSE(plane_->has(k1));
  std::uint32_t credit = 0;
  EXPECT_THAT(results(k1, credit), ElementsAre(1));
  two.say(std::string("\4\xff\xff", 3));
  until([&] { return lost_.size() == 2; });
  EXPECT_THAT(lost_[1], HasSubstr("not one whole ToCoordinator"));
}

TEST_P(DataPlaneTest, AJobFromAWorkerIsNoMessageEither) {
  Worker one = join(k1);
  one.tell(wire::JobMessage{1, "input"});
  until([&] { return !lost_.empty(); });
  EXPECT_THAT(lost_, ElementsAre("1: a message that no worker sends"));
}

TEST_P(DataPlaneTest, ACloseComesAfterAllThatWasSaid) {
  Worker one = join(k1);
  for (std::uint64_t job = 0; job < 100; ++job) one.tell(wire::ResultMessage{.index = job});
  one.close();
  until([&] { return !closed_.empty(); });
  std::uint32_t credit = 0;
  EXPECT_EQ(results(k1, credit).size(), 100u);
  EXPECT_THAT(closed_, ElementsAre(1));
  EXPECT_THAT(lost_, IsEmpty());
}

TEST_P(DataPlaneTest, OneThatIsGoneIsLostAfterAllThatItSaid) {
  std::uint32_t credit = 0;
  {
    Worker one = join(k1);
    for (std::uint64_t job = 0; job < 100; ++job) one.tell(wire::ResultMessage{.index = job});
    if (GetParam() == Kind::kZmqIpc) until([&] { return results(k1, credit).size() == 100; });
  }
  until([&] { return !lost_.empty(); });
  EXPECT_EQ(results(k1, credit).size(), 100u);
  EXPECT_THAT(lost_, ElementsAre("1: "));
  EXPECT_THAT(closed_, IsEmpty());
  EXPECT_FALSE(plane_->has(k1));
}

// More than is taken in one turn.
TEST_P(DataPlaneTest, ADrainTakesAllThatADeadOneSaid) {
  constexpr std::uint64_t kResults = 3000;
  std::uint32_t credit = 0;
  {
    Worker one = join(k1);
    std::string bytes;
    for (std::uint64_t job = 0; job < kResults; ++job) {
      one.tell(wire::ResultMessage{.index = job});
    }
    if (GetParam() == Kind::kZmqIpc) until([&] { return results(k1, credit).size() == kResults; });
  }
  plane_->drain(k1);
  EXPECT_EQ(results(k1, credit).size(), kResults);
  plane_->drain(k2);  // never there
}

}  // namespace
}  // namespace bulkhead::coordinator
