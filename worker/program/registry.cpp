#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/program/jobs.hpp>

namespace bulkhead::program {
namespace {

// Inside a function: registrations run before main() in no fixed order between files.
std::vector<Registration>& programs() {
  static std::vector<Registration> all;
  return all;
}

std::vector<Registration>::iterator place_of(std::string_view name) {
  return std::lower_bound(programs().begin(), programs().end(), name,
                          [](const Registration& registration, std::string_view wanted) {
                            return registration.description.name < wanted;
                          });
}

}  // namespace

// Sorted by name, so that the order does not depend on the linker.
const std::vector<Registration>& registry() { return programs(); }

const Registration* find_program(std::string_view name) {
  const auto place = place_of(name);
  return place != programs().end() && place->description.name == name ? &*place : nullptr;
}

bool register_program(Registration registration) {
  const std::string& name = registration.description.name;
  BULKHEAD_CHECK(!name.empty(), "a program without a name was registered");
  const auto place = place_of(name);
  BULKHEAD_CHECK(place == programs().end() || place->description.name != name,
                 "two programs are called '{}'", name);
  programs().insert(place, std::move(registration));
  return true;
}

}  // namespace bulkhead::program
