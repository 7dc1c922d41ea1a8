#include "support/stranger.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/wire/codec.hpp>
#include <cstring>
#include <random>
#include <utility>

namespace bulkhead::test {
namespace {

constexpr int kFlood = 2000;
constexpr std::size_t kMostOpen = 400;  // at once, of those who go on to be there

// The greeting of ZMTP 3.0 with the NULL mechanism, as any ZeroMQ peer sends it.
std::string greeting() {
  std::string bytes("\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL", 16);
  bytes.resize(64, '\0');
  return bytes;
}

std::string big_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    text += static_cast<char>((value >> static_cast<unsigned>(shift)) & 0xff);
  }
  return text;
}

std::string ready(const std::string& identity) {
  std::string body = "\5READY";
  const auto property = [&](const std::string& key, const std::string& value) {
    body += static_cast<char>(key.size());
    body += key + big_endian(value.size(), 4) + value;
  };
  property("Socket-Type", "DEALER");
  property("Identity", identity);
  // A long command: the length has eight bytes.
  return std::string("\6") + big_endian(body.size(), 8) + body;
}

std::string frame(const std::string& bytes) {
  return std::string("\2") + big_endian(bytes.size(), 8) + bytes;
}

std::string noise(std::size_t size) {
  static std::mt19937_64 random(20);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

std::string encoded(const v1::ToCoordinator& message) { return message.SerializeAsString(); }

std::string length_delimited(const std::string& inner) {
  std::string bytes("\x0a");
  for (std::size_t size = inner.size();; size >>= 7) {
    bytes += static_cast<char>((size & 0x7f) | (size > 0x7f ? 0x80 : 0));
    if (size <= 0x7f) break;
  }
  return bytes + inner;
}

// All that the worker of a dead incarnation might still have had in its pipe, and more.
std::vector<std::string> last_words() {
  std::vector<std::string> words{noise(100), hello_with("", wire::kProtocol, 1, 1)};
  v1::ToCoordinator request;
  request.mutable_request()->set_jobs(1000);
  words.push_back(encoded(request));
  v1::ToCoordinator results;
  for (const std::uint64_t job : {std::uint64_t{0}, std::uint64_t{1'000'000'000'000}}) {
    v1::JobResult* result = results.mutable_results()->add_results();
    result->set_index(job);
    result->set_result("nonsense");
  }
  words.push_back(encoded(results));
  v1::ToCoordinator inputs;
  inputs.mutable_inputs()->add_inputs("nonsense");
  inputs.mutable_inputs()->set_end(true);
  words.push_back(encoded(inputs));
  v1::ToCoordinator answer;
  answer.mutable_answer()->set_checksum("nonsense");
  words.push_back(encoded(answer));
  v1::ToCoordinator failed;
  failed.mutable_pseudo_failed()->set_error("nonsense");
  words.push_back(encoded(failed));
  v1::ToCoordinator goodbye;
  goodbye.mutable_goodbye();
  words.push_back(encoded(goodbye));
  return words;
}

}  // namespace

std::string nested_bytes(std::size_t levels) {
  // A group (field 100) within a group, and messages within messages, of the one known body that
  // has a field 1 of bytes around them.
  std::string groups;
  for (std::size_t i = 0; i < levels; ++i) groups += "\xa3\x06";
  std::string messages;
  for (std::size_t i = 0; i < levels; ++i) messages = length_delimited(messages);
  return groups + messages;
}

std::string truncated_message() {
  v1::ToCoordinator message;
  for (std::uint64_t job = 0; job < 10; ++job) {
    message.mutable_results()->add_results()->set_index(job);
  }
  std::string bytes = encoded(message);
  bytes.pop_back();
  return bytes;
}

std::string hello_with(const std::string& token, unsigned protocol, unsigned worker,
                       unsigned incarnation) {
  v1::ToCoordinator message;
  v1::Hello* hello = message.mutable_hello();
  hello->set_protocol(protocol);
  hello->set_build_id(std::string(wire::build_id()));
  hello->set_worker(worker);
  hello->set_incarnation(incarnation);
  hello->set_token(token);
  return encoded(message);
}

Stranger::Stranger(std::string directory, std::string socket_name, Insight insight)
    : directory_(std::move(directory)),
      name_(std::move(socket_name)),
      insight_(std::move(insight)) {}

void Stranger::connect_and_say(const std::string& bytes) {
  base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string file = directory_ + "/" + name_;
  if (!fd || file.size() >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, file.data(), file.size());
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return;
  // What does not fit is dropped: the other side may well have hung up.
  static_cast<void>(send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  if (raw_.size() < kMostOpen) raw_.push_back(std::move(fd));
}

void Stranger::peer_says(const std::string& identity, const std::vector<std::string>& messages) {
  auto dealer = transport::Dealer::connect({directory_, name_}, identity, {});
  if (!dealer) return;
  for (const std::string& message : messages)
    static_cast<void>((*dealer)->send(std::string(message)));
  dealers_.push_back(std::move(*dealer));
  // And the same with all bytes in one piece, ahead of every answer.
  std::string bytes = greeting() + ready(identity);
  for (const std::string& message : messages) bytes += frame(message);
  connect_and_say(bytes);
}

bool Stranger::all_cut() const {
  for (const base::UniqueFd& fd : raw_) {
    char bytes[256];
    ssize_t got = 0;
    while ((got = recv(fd.get(), bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
    }
    if (got < 0 && errno != ECONNRESET) return false;
  }
  return true;
}

void Stranger::attack(const std::string& kind) {
  const std::string live = wire::encode_identity({insight_.run_id, insight_.live_worker, 1});
  const std::string next = wire::encode_identity({insight_.run_id, insight_.live_worker, 2});
  const std::string dead = wire::encode_identity({insight_.run_id, insight_.dead_worker, 1});
  const std::string hello = hello_with(noise(32), wire::kProtocol, insight_.live_worker, 1);
  const std::string gigabyte = big_endian(std::uint64_t{1} << 30, 8);
  if (kind == "RandomBytes") {
    connect_and_say("GET / HTTP/1.0\r\n\r\n");
    connect_and_say(noise(64 * 1024));
    connect_and_say(greeting() + noise(64 * 1024));
    connect_and_say(greeting() + ready("stranger") + noise(64 * 1024));
    peer_says("stranger", {noise(1000), noise(1000)});
  } else if (kind == "TruncatedProtobuf") {
    for (const std::string& identity : {live, next, std::string("stranger"), std::string()}) {
      connect_and_say(greeting() + ready(identity) + frame(truncated_message()));
    }
    peer_says(next, {truncated_message()});
  } else if (kind == "OneGibibyte") {
    connect_and_say(greeting() + ready("stranger") + "\2" + gigabyte + noise(1000));
    connect_and_say(greeting() + "\6" + gigabyte + noise(1000));     // a command of that length
    connect_and_say(std::string("\xff") + gigabyte + noise(1000));   // ZMTP 1
    connect_and_say(greeting() + "\2" + std::string(8, '\xff'));     // and without end
    connect_and_say(greeting() + ready(std::string(100'000, 'x')));  // a name of that kind
  } else if (kind == "Nesting") {
    connect_and_say(greeting() + ready(live) + frame(nested_bytes(10'000)));
    peer_says(next, {nested_bytes(10'000), nested_bytes(10'000)});
  } else if (kind == "WrongToken") {
    connect_and_say(greeting() + ready(live) + frame(hello));
    peer_says(next, {hello, hello_with("", wire::kProtocol, insight_.live_worker, 2)});
  } else if (kind == "OldVersion") {
    connect_and_say(std::string("\1\0", 2) + noise(100));                    // ZMTP 1
    connect_and_say(greeting().substr(0, 10) + std::string("\1\5\0\0", 4));  // ZMTP 2
    connect_and_say(greeting().substr(0, 10) + std::string("\3\0OLD", 5));   // no such mechanism
    peer_says(next, {hello_with(noise(32), 0, insight_.live_worker, 2)});
  } else if (kind == "DuplicateIdentity") {
    for (int i = 0; i < 3; ++i) connect_and_say(greeting() + ready(live) + frame(noise(100)));
    peer_says(live, last_words());
    for (int i = 0; i < 2; ++i) peer_says("stranger", {noise(100)});
  } else if (kind == "SecondHello") {
    connect_and_say(greeting() + ready(next) + ready(next) + frame(hello) + frame(hello));
    peer_says(next, {hello, hello, hello});
  } else if (kind == "Silence") {
    connect_and_say("");
    connect_and_say(greeting().substr(0, 11));
    connect_and_say(greeting());
    connect_and_say(greeting() + ready("stranger"));
    connect_and_say(greeting() + ready("stranger2") + frame("").substr(0, 5));
  } else if (kind == "FloodOfConnects") {
    for (int i = 0; i < kFlood; ++i) connect_and_say(i % 2 == 0 ? "" : greeting());
  } else if (kind == "SixtyConnects") {
    for (int i = 0; i < 60; ++i) connect_and_say(greeting());
  } else if (kind == "DeadIncarnation") {
    std::string all = greeting() + ready(dead);
    for (const std::string& words : last_words()) all += frame(words);
    connect_and_say(all);
    peer_says(dead, last_words());
  } else {
    BULKHEAD_CHECK(false, "no stranger does {}", kind);
  }
}

const std::vector<std::string>& stranger_kinds() {
  static const std::vector<std::string> kKinds{
      "RandomBytes", "TruncatedProtobuf", "OneGibibyte",       "Nesting",
      "WrongToken",  "OldVersion",        "DuplicateIdentity", "SecondHello",
      "Silence",     "FloodOfConnects",   "SixtyConnects",     "DeadIncarnation"};
  return kKinds;
}

}  // namespace bulkhead::test
