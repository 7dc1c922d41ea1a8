// Strangers at the control socket: garbage, silence, floods. A run must not notice.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <bulkhead/base/unique_fd.hpp>
#include <cstring>
#include <filesystem>
#include <random>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using base::UniqueFd;

// The greeting of ZMTP 3.0 with the NULL mechanism, as any ZeroMQ peer sends it.
std::string greeting() {
  std::string bytes("\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL", 16);
  bytes.resize(64, '\0');
  return bytes;
}

std::string ready_command(const std::string& identity) {
  const std::string name = "\5READY";
  std::string body = name;
  const auto property = [&](const std::string& key, const std::string& value) {
    body += static_cast<char>(key.size());
    body += key;
    for (int shift = 24; shift >= 0; shift -= 8) {
      body += static_cast<char>((value.size() >> static_cast<unsigned>(shift)) & 0xff);
    }
    body += value;
  };
  property("Socket-Type", "DEALER");
  property("Identity", identity);
  return std::string("\4") + static_cast<char>(body.size()) + body;
}

class HostileTest : public CommandTest {
 protected:
  UniqueFd connect_to_run() const {
    for (const std::string& directory : run_directories()) {
      UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      const std::string file = directory + "/c";
      if (file.size() >= sizeof address.sun_path) continue;
      std::memcpy(address.sun_path, file.data(), file.size());
      if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
    }
    return {};
  }
  // What does not fit is dropped: the other side may well have hung up.
  static void say(const UniqueFd& fd, const std::string& bytes) {
    if (send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return;
  }
};

TEST_F(HostileTest, StrangersAtTheControlSocketDisturbNothing) {
  std::mt19937_64 random(20);
  std::string noise(64 * 1024, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  const std::string huge_frame = std::string("\2\x7f") + std::string(7, '\xff');
  const std::string small_frame = std::string("\0\5hello", 7);
  const std::vector<std::string> openings{
      "",                                                    // silence
      "GET / HTTP/1.0\r\n\r\n",                              // another protocol
      noise,                                                 // chance
      greeting().substr(0, 11),                              // cut short
      greeting(),                                            // never ready
      greeting() + noise,                                    // and then chance
      greeting() + huge_frame,                               // no command, and without end
      greeting() + ready_command("stranger") + small_frame,  // a peer with a name of its own
      greeting() + ready_command("") + huge_frame,
      greeting() + ready_command(std::string(200, 'x')) + small_frame};
  for (const std::string name : {"processes", "parallel"}) {
    const pid_t command =
        start({"run", "napper", "--worker", kTestWorker, "--model", name, "--workers", "3",
               "--in-flight", "6", "--set", "count=3000", "--set", "us=4000", "--json", "-"});
    ASSERT_TRUE(eventually([&] { return static_cast<bool>(connect_to_run()); }));
    std::vector<UniqueFd> open;
    for (int round = 0; round < 5; ++round) {
      for (const std::string& opening : openings) {
        UniqueFd fd = connect_to_run();
        ASSERT_TRUE(fd) << "the run ended before it had met every stranger";
        say(fd, opening);
        if (round % 2 == 0) open.push_back(std::move(fd));  // the others hang up at once
      }
    }
    const Outcome outcome = finish(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto all = report(outcome);
    EXPECT_EQ(model(all, name).at("answer").at("checksum"), "4501500");
    EXPECT_EQ(model(all, name).at("crashes"), 0);
    EXPECT_EQ(model(all, name).at("jobs").at("done"), 3000);
    EXPECT_EQ(model(all, name).at("jobs").at("retried"), 0);
  }
}

TEST_F(HostileTest, TheSocketIsInADirectoryForItsOwnerAlone) {
  const pid_t command =
      start({"run", "napper", "--worker", kTestWorker, "--set", "us=100000", "--json", "-"});
  ASSERT_TRUE(eventually([&] { return static_cast<bool>(connect_to_run()); }));
  for (const std::string& directory : run_directories()) {
    EXPECT_EQ(std::filesystem::status(directory).permissions(), std::filesystem::perms::owner_all);
  }
  EXPECT_EQ(finish(command).exit_code, 0);
}

}  // namespace
}  // namespace bulkhead::test
