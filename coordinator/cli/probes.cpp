#include "cli/doctor.hpp"
namespace bulkhead::coordinator {
std::vector<Capability> probe_machine() { return {}; }
std::string render_doctor(const std::vector<Capability>&, bool) { return {}; }
}  // namespace bulkhead::coordinator
