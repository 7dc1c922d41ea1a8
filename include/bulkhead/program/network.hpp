// A network: named tasks that talk by named channels. `bulkhead run` and `compare` run it under
// each model, its tasks in one process or in several; `bulkhead explore` runs its interleavings one
// after another and looks for one that ends badly.
//
//   struct Relay {
//     static program::Description describe();
//     explicit Relay(const program::Settings& settings);
//     void build(program::Net& net);     // declares tasks and channels: net.hpp
//     program::Answer expected() const;  // may be left out: the right answer, found another way
//   };
//   BULKHEAD_NETWORK(Relay);
//
// Neither the constructor nor build() may open, read or start anything: each worker calls both, and
// so does `bulkhead list`, with the defaults of all settings.
//
// What is to be explored alone may share what locks guard, and instead of build() has
//
//     program::Answer run();  // the main goroutine, once an object. When it returns, those that it
//                             // has started use the object no more
//
// An interleaving ends badly when goroutines are left that nothing can wake (also behind run()),
// when an exception leaves one, a check fails, a signal strikes, or the answer's checksum is
// another one than expected. run() may say what it does by sched::note().
//
// The same seed is the same run as long as a network takes nothing from outside: no clock but
// sched::now(), no random numbers but from a fixed seed, no threads, no addresses as keys.
//
// All that explore runs is in one worker's memory.
#pragma once

#include <bulkhead/program/jobs.hpp>
#include <bulkhead/program/net.hpp>
#include <bulkhead/program/settings.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace bulkhead::program {

// What the worker runs. Members may throw what the user's code throws.
class ErasedNetwork {
 public:
  virtual ~ErasedNetwork() = default;
  virtual Answer run() = 0;
  virtual void build(Net& net) = 0;                    // of one that has tasks
  virtual std::optional<Answer> expected() const = 0;  // nothing: any answer will do
};

struct NetworkRegistration {
  Description description;
  std::function<std::unique_ptr<ErasedNetwork>(const Settings&)> make;  // may throw
  bool has_tasks = false;  // else it is there to be explored
};

// Every network linked into this worker, by name. Filled before main().
const std::vector<NetworkRegistration>& networks();
const NetworkRegistration* find_network(std::string_view name);
// Aborts when two networks, or a network and a jobs program, share a name.
bool register_network(NetworkRegistration registration);

template <class Network>
class NetworkAdapter final : public ErasedNetwork {
 public:
  explicit NetworkAdapter(const Settings& settings) : network_(settings) {}
  static constexpr bool kHasTasks = requires(Network & network, Net& net) { network.build(net); };

  Answer run() override {
    if constexpr (kHasTasks) {
      Net net;
      build(net);
      return run_in_memory(net);
    } else {
      return network_.run();
    }
  }
  void build(Net& net) override {
    if constexpr (kHasTasks) {
      network_.build(net);
      net.check();
    }
  }
  std::optional<Answer> expected() const override {
    if constexpr (requires { network_.expected(); })
      return network_.expected();
    else
      return std::nullopt;
  }

 private:
  Network network_;
};

// Its interleaving under a Chooser of explore.hpp: makes a network, runs it, and ends the process
// where the answer is wrong. Inside a goroutine.
void run_checked(const NetworkRegistration& registration, const Settings& settings);

template <class Network>
bool register_one_network() {
  return register_network({Network::describe(),
                           [](const Settings& settings) {
                             return std::unique_ptr<ErasedNetwork>(
                                 std::make_unique<NetworkAdapter<Network>>(settings));
                           },
                           NetworkAdapter<Network>::kHasTasks});
}

}  // namespace bulkhead::program

// At namespace scope of one .cpp file that is linked into the worker.
#define BULKHEAD_NETWORK(Network)                                                       \
  [[maybe_unused]] static const bool BULKHEAD_JOIN(bulkhead_registered_, __COUNTER__) = \
      ::bulkhead::program::register_one_network<Network>()
