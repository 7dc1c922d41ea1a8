// Peers that are lost again and again although nobody dies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dispatch/network_dispatch.hpp"

namespace bulkhead::coordinator {
namespace {

v1::ToCoordinator lost_peer(std::uint32_t task) {
  v1::ToCoordinator message;
  message.mutable_task_ended()->set_task(task);
  message.mutable_task_ended()->set_error("no descriptor is left");
  message.mutable_task_ended()->set_peer_lost(true);
  return message;
}

// One attempt after the other on two workers, each ended by a lost peer; how many there were. With
// `death` the other worker is found dead each time.
std::uint32_t attempts_until_the_end(bool death, std::uint32_t most) {
  DispatchSettings settings;
  settings.spill_directory = testing::TempDir();
  NetworkDispatch dispatch(settings, {"ping", "pong"}, 2);
  dispatch.begin();
  for (std::uint32_t attempt = 1; attempt <= most; ++attempt) {
    dispatch.worker_ready({1, attempt});
    dispatch.worker_ready({2, attempt});
    EXPECT_TRUE(dispatch.message({1, attempt}, lost_peer(0)));
    if (dispatch.finished()) {
      EXPECT_THAT(dispatch.failure(),
                  testing::HasSubstr("task 'ping' lost its peer 20 times, and nobody had died: no "
                                     "descriptor is left"));
      return attempt;
    }
    for (const WorkerKey& key : dispatch.take_replaced())
      dispatch.worker_lost(key, {}, death && key.worker == 2, "killed by signal 9");
  }
  return most + 1;
}

TEST(NetworkLostTest, TheRunEndsWhereNobodyEverHasDied) {
  EXPECT_EQ(attempts_until_the_end(false, 100), 20u);
}

TEST(NetworkLostTest, DeathsExplainThem) { EXPECT_EQ(attempts_until_the_end(true, 100), 101u); }

}  // namespace
}  // namespace bulkhead::coordinator
