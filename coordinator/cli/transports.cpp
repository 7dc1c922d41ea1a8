// What jobs and results cross on in the isolated models (--transport, --transports), and how they
// go from hand to hand in the others (--transfer, --transfers); which way a network's channels take
// between workers (--route); whether the times of what crosses are noted (--cost).
#include <algorithm>

#include "cli/judge.hpp"
#include "cli/values.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::string_view kAuto = "auto";

// Between processes of one machine; the default first.
const std::vector<transport::Kind>& kinds() {
  static const std::vector<transport::Kind> kKinds{transport::Kind::kZmqIpc, transport::Kind::kUnix,
                                                   transport::Kind::kShm};
  return kKinds;
}

}  // namespace

std::vector<std::string> transport_names() {
  std::vector<std::string> names;
  for (const transport::Kind kind : kinds()) names.emplace_back(transport::name_of(kind));
  names.emplace_back(kAuto);
  return names;
}

Done Judge::transports() {
  const bool compare = words_.command == Command::kCompare;
  const auto one = given("transport");
  const auto several = compare ? given("transports") : std::nullopt;
  if (several && one && std::string_view(one->source) == "flag") {
    return stop(kExitUsage, "--transport and --transports: give one of them; --transports {},{}",
                several->text, one->text);
  }
  const auto& from = several ? several : one;
  const std::string text = from ? from->text : std::string(transport::name_of(kinds().front()));
  const std::string flag = several ? "transports" : "transport";
  const std::string where = from ? from->where : "--" + flag;
  for (const std::string& name : several ? split(text, ',') : std::vector<std::string>{text}) {
    const auto known = std::find_if(kinds().begin(), kinds().end(), [&](transport::Kind kind) {
      return name == transport::name_of(kind);
    });
    if (known == kinds().end() && name != kAuto) {
      if (name == transport::name_of(transport::Kind::kInproc)) {
        return stop(kExitUsage,
                    "{}: '{}' joins threads of one process, and workers are processes; write {}",
                    where, name, join(transport_names(), ", "));
      }
      if (!several && name.find(',') != std::string::npos) {
        return stop(kExitUsage,
                    "{}: {} names several; `bulkhead compare` takes several, with --transports",
                    where, in_quotes(name));
      }
      return stop(kExitUsage, "{}: unknown transport {}{}", where, in_quotes(name),
                  suggestion(name, "transports", transport_names()));
    }
    const transport::Kind kind = known == kinds().end() ? transport::Kind::kShm : *known;
    auto& chosen = options_.transports;
    if (std::find(chosen.begin(), chosen.end(), kind) != chosen.end()) {
      return stop(kExitUsage, "--transports: '{}' is named twice; name each transport once",
                  transport::name_of(kind));
    }
    chosen.push_back(kind);
  }
  plan(flag, text, from);
  return transfers();
}

Done Judge::transfers() {
  static const std::vector<std::string> kNames{"move", "copy", "encode"};
  const bool compare = words_.command == Command::kCompare;
  const auto one = given("transfer");
  const auto several = compare ? given("transfers") : std::nullopt;
  if (several && one) {
    return stop(kExitUsage, "--transfer and --transfers: give one of them; --transfers {},{}",
                several->text, one->text);
  }
  const auto& from = several ? several : one;
  const std::string text = from ? from->text : kNames.front();
  const std::string flag = several ? "transfers" : "transfer";
  auto& chosen = options_.transfers;
  for (const std::string& name : several ? split(text, ',') : std::vector<std::string>{text}) {
    if (std::find(kNames.begin(), kNames.end(), name) == kNames.end()) {
      return stop(kExitUsage, "--{}: unknown transfer {}{}", flag, in_quotes(name),
                  suggestion(name, "transfers", kNames));
    }
    if (std::find(chosen.begin(), chosen.end(), name) != chosen.end()) {
      return stop(kExitUsage, "--transfers: '{}' is named twice; name each transfer once", name);
    }
    chosen.push_back(name);
  }
  plan(flag, text, from);
  return route();
}

Done Judge::route() {
  static const std::vector<std::string> kRoutes{"direct", "coordinator"};
  const auto from = given("route");
  const std::string text = from ? from->text : kRoutes.front();
  if (std::find(kRoutes.begin(), kRoutes.end(), text) == kRoutes.end()) {
    return stop(kExitUsage, "--route: unknown route {}{}", in_quotes(text),
                suggestion(text, "routes", kRoutes));
  }
  options_.route_coordinator = text != kRoutes.front();
  plan("route", text, from);
  return cost();
}

Done Judge::cost() {
  const auto from = given("cost");
  const std::string text = from ? from->text : "on";
  if (text != "on" && text != "off")
    return stop(kExitUsage, "--cost: {} is neither on nor off; write --cost off", in_quotes(text));
  options_.cost = text == "on";
  plan("cost", text, from);
  return {};
}

}  // namespace bulkhead::coordinator
