// Peers of the control socket that keep no contract: what they send, and how. Used from outside a
// run (by the tests) and from inside it (by jobs of the test worker).
#pragma once

#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/transport/zmq.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bulkhead::test {

// What a stranger knows of the run that it disturbs; an outsider has to make it up.
struct Insight {
  std::string run_id = std::string(8, 'r');
  unsigned live_worker = 1;  // whose first incarnation lives
  unsigned dead_worker = 2;  // whose first incarnation is gone
};

// Keeps open what it opened.
class Stranger {
 public:
  Stranger(std::string directory, std::string socket_name, Insight insight = {});

  // `kind` is one of stranger_kinds(). May be called again and again.
  void attack(const std::string& kind);
  // Some of them never went through; this is about those that did.
  std::size_t connections() const { return raw_.size(); }
  // Whether the other side has hung up on every bare connection.
  bool all_cut() const;

 private:
  void connect_and_say(const std::string& bytes);
  void peer_says(const std::string& identity, const std::vector<std::string>& messages);

  std::string directory_;
  std::string name_;
  Insight insight_;
  std::vector<base::UniqueFd> raw_;
  std::vector<std::unique_ptr<transport::Dealer>> dealers_;
};

const std::vector<std::string>& stranger_kinds();

// Bytes that no decoder may follow to their end.
std::string nested_bytes(std::size_t levels);
// A whole message without its last byte.
std::string truncated_message();
std::string hello_with(const std::string& token, unsigned protocol, unsigned worker,
                       unsigned incarnation);

}  // namespace bulkhead::test
