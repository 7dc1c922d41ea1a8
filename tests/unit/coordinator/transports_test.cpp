// --transport and --transports, each message whole.
#include "options_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using testing::ElementsAre;
using transport::Kind;

class TransportsTest : public OptionsTest {
 protected:
  std::string refusal(const std::vector<std::string>& words) {
    const auto options = parse(words);
    EXPECT_FALSE(options.has_value());
    if (options) return "it was taken";
    EXPECT_EQ(options.error().code, kExitUsage);
    return options.error().text;
  }
};

TEST_F(TransportsTest, ZeroMqIsTheDefault) {
  const auto options = parse({"run", "primes"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_THAT(options->transports, ElementsAre(Kind::kZmqIpc));
  EXPECT_EQ(planned(*options, "transport"), "zmq-ipc from default");
}

TEST_F(TransportsTest, AutoIsTheFastestOnOneMachine) {
  EXPECT_THAT(parse({"run", "primes", "--transport", "auto"})->transports, ElementsAre(Kind::kShm));
  EXPECT_THAT(parse({"run", "primes", "--transport", "unix"})->transports,
              ElementsAre(Kind::kUnix));
}

TEST_F(TransportsTest, CompareTakesSeveralInTheirOrder) {
  const auto options = parse({"compare", "primes", "--transports", "shm,zmq-ipc,unix"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_THAT(options->transports, ElementsAre(Kind::kShm, Kind::kZmqIpc, Kind::kUnix));
  EXPECT_EQ(planned(*options, "transports"), "shm,zmq-ipc,unix from flag");
}

TEST_F(TransportsTest, TheEnvironmentStandsIn) {
  set("BULKHEAD_TRANSPORT", "shm");
  EXPECT_THAT(parse({"run", "primes"})->transports, ElementsAre(Kind::kShm));
  EXPECT_THAT(parse({"run", "primes", "--transport", "unix"})->transports,
              ElementsAre(Kind::kUnix));
  EXPECT_THAT(parse({"compare", "primes", "--transports", "unix,zmq-ipc"})->transports,
              ElementsAre(Kind::kUnix, Kind::kZmqIpc));
}

TEST_F(TransportsTest, MistakesAreNamed) {
  EXPECT_EQ(refusal({"run", "primes", "--transport", "smh"}),
            "bulkhead: --transport: unknown transport 'smh'; did you mean 'shm'? transports: "
            "zmq-ipc, unix, shm, auto\n");
  EXPECT_EQ(refusal({"run", "primes", "--transport", "inproc"}),
            "bulkhead: --transport: 'inproc' joins threads of one process, and workers are "
            "processes; write zmq-ipc, unix, shm, auto\n");
  EXPECT_EQ(refusal({"run", "primes", "--transport", "shm,unix"}),
            "bulkhead: --transport: 'shm,unix' names several; `bulkhead compare` takes several, "
            "with --transports\n");
  EXPECT_EQ(refusal({"compare", "primes", "--transports", "shm,auto"}),
            "bulkhead: --transports: 'shm' is named twice; name each transport once\n");
  EXPECT_EQ(refusal({"compare", "primes", "--transports", "shm,"}),
            "bulkhead: --transports: unknown transport ''; transports: zmq-ipc, unix, shm, auto\n");
  EXPECT_EQ(refusal({"compare", "primes", "--transports", "shm", "--transport", "unix"}),
            "bulkhead: --transport and --transports: give one of them; --transports shm,unix\n");
}

TEST_F(TransportsTest, TheRouteAndTheCostAreSwitches) {
  EXPECT_FALSE(parse({"run", "primes"})->route_coordinator);
  EXPECT_TRUE(parse({"run", "primes", "--route", "coordinator"})->route_coordinator);
  EXPECT_TRUE(parse({"run", "primes"})->cost);
  EXPECT_FALSE(parse({"compare", "primes", "--cost", "off"})->cost);
  EXPECT_EQ(refusal({"run", "primes", "--cost", "some"}),
            "bulkhead: --cost: 'some' is neither on nor off; write --cost off\n");
}

TEST_F(TransportsTest, ValuesAreMovedUnlessAControlIsAskedFor) {
  EXPECT_THAT(parse({"run", "primes"})->transfers, ElementsAre("move"));
  EXPECT_THAT(parse({"run", "primes", "--transfer", "encode"})->transfers, ElementsAre("encode"));
  const auto options = parse({"compare", "primes", "--transfers", "encode,move,copy"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_THAT(options->transfers, ElementsAre("encode", "move", "copy"));
  EXPECT_EQ(planned(*options, "transfers"), "encode,move,copy from flag");
  EXPECT_EQ(refusal({"run", "primes", "--transfer", "borrow"}),
            "bulkhead: --transfer: unknown transfer 'borrow'; transfers: move, copy, encode\n");
  EXPECT_EQ(refusal({"compare", "primes", "--transfers", "copy,copy"}),
            "bulkhead: --transfers: 'copy' is named twice; name each transfer once\n");
  EXPECT_EQ(refusal({"compare", "primes", "--transfers", "copy", "--transfer", "move"}),
            "bulkhead: --transfer and --transfers: give one of them; --transfers copy,move\n");
}

}  // namespace
}  // namespace bulkhead::coordinator
