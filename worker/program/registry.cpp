#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/program/jobs.hpp>
#include <bulkhead/program/network.hpp>
#include <bulkhead/sched/explore.hpp>

namespace bulkhead::program {
namespace {

// Inside a function: registrations run before main() in no fixed order between files.
template <class Kind>
std::vector<Kind>& all() {
  static std::vector<Kind> kinds;
  return kinds;
}

template <class Kind>
auto place_of(std::string_view name) {
  return std::lower_bound(all<Kind>().begin(), all<Kind>().end(), name,
                          [](const Kind& registration, std::string_view wanted) {
                            return registration.description.name < wanted;
                          });
}

template <class Kind>
const Kind* find(std::string_view name) {
  const auto place = place_of<Kind>(name);
  return place != all<Kind>().end() && place->description.name == name ? &*place : nullptr;
}

// Sorted by name, so that the order does not depend on the linker.
template <class Kind>
bool add(Kind registration) {
  const std::string& name = registration.description.name;
  BULKHEAD_CHECK(!name.empty(), "a program without a name was registered");
  BULKHEAD_CHECK(find_program(name) == nullptr && find_network(name) == nullptr,
                 "two programs are called '{}'", name);
  all<Kind>().insert(place_of<Kind>(name), std::move(registration));
  return true;
}

}  // namespace

const std::vector<Registration>& registry() { return all<Registration>(); }
const std::vector<NetworkRegistration>& networks() { return all<NetworkRegistration>(); }

const Registration* find_program(std::string_view name) { return find<Registration>(name); }
const NetworkRegistration* find_network(std::string_view name) {
  return find<NetworkRegistration>(name);
}

bool register_program(Registration registration) { return add(std::move(registration)); }
bool register_network(NetworkRegistration registration) { return add(std::move(registration)); }

void run_checked(const NetworkRegistration& registration, const Settings& settings) {
  const std::unique_ptr<ErasedNetwork> network = registration.make(settings);
  const Answer answer = network->run();
  const std::optional<Answer> expected = network->expected();
  if (!expected || answer.checksum == expected->checksum) return;
  sched::wrong_answer(fmt::format("{}\nexpected: {}", answer.text, expected->text));
}

}  // namespace bulkhead::program
