#include "cli/doctor.hpp"

#include <algorithm>
#include <bulkhead/wire/text.hpp>

namespace bulkhead::coordinator {
namespace {

// printable() leaves valid UTF-8 without control characters: two characters remain to be escaped.
std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : wire::printable(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string render_json(const std::vector<Capability>& capabilities) {
  std::string out = "[";
  for (const Capability& capability : capabilities) {
    out += out.size() == 1 ? "\n" : ",\n";
    out += "  {\"name\": " + json_string(capability.name) +
           ", \"present\": " + (capability.present ? "true" : "false") +
           ", \"needed\": " + (capability.needed ? "true" : "false") +
           ", \"reason\": " + json_string(capability.reason) +
           ", \"remedy\": " + json_string(capability.remedy) + "}";
  }
  return out + "\n]\n";
}

}  // namespace

std::string render_doctor(const std::vector<Capability>& capabilities, bool json) {
  if (json) return render_json(capabilities);
  std::size_t width = 0;
  std::vector<std::string> blocking;
  for (const Capability& capability : capabilities) {
    width = std::max(width, capability.name.size());
    if (capability.needed && !capability.present) blocking.push_back(capability.name);
  }
  std::string out;
  for (const Capability& capability : capabilities) {
    out += capability.name + std::string(width + 2 - capability.name.size(), ' ');
    out += capability.present ? "yes  " : capability.needed ? "NO   " : "no   ";
    out += wire::printable(capability.reason) + "\n";
    if (!capability.present && !capability.remedy.empty()) {
      out += std::string(width + 7, ' ') + "remedy: " + wire::printable(capability.remedy) + "\n";
    }
  }
  if (blocking.empty()) return out + "bulkhead runs here\n";
  out += "bulkhead does not run here; it needs:";
  for (const std::string& name : blocking) out += " " + name;
  return out + "\n";
}

}  // namespace bulkhead::coordinator
