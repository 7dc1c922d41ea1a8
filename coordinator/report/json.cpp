// The report as JSON.
#include <google/protobuf/util/json_util.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/wire/text.hpp>
#include <cmath>
#include <memory>
#include <vector>

#include "report/report.hpp"
#include "report/write_file.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::size_t kTextMax = std::size_t{64} << 20;

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// JSON has no word for what is not a number, and protobuf would print a string: a script that adds
// up would break. Texts lose bytes that are not UTF-8. Returns how many numbers had to go.
int scrub(Message& message);

int scrub_field(Message& message, const Reflection& access, const FieldDescriptor& field) {
  int replaced = 0;
  const int count = field.is_repeated() ? access.FieldSize(message, &field) : 1;
  for (int i = 0; i < count; ++i) {
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      replaced += scrub(field.is_repeated() ? *access.MutableRepeatedMessage(&message, &field, i)
                                            : *access.MutableMessage(&message, &field));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && field.is_repeated()) {
      access.SetRepeatedString(
          &message, &field, i,
          wire::printable(access.GetRepeatedString(message, &field, i), kTextMax, true));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      access.SetString(&message, &field,
                       wire::printable(access.GetString(message, &field), kTextMax, true));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE && field.is_repeated()) {
      if (std::isfinite(access.GetRepeatedDouble(message, &field, i))) continue;
      access.SetRepeatedDouble(&message, &field, i, 0);
      ++replaced;
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
      if (std::isfinite(access.GetDouble(message, &field))) continue;
      access.ClearField(&message, &field);
      ++replaced;
    }
  }
  return replaced;
}

int scrub(Message& message) {
  const Reflection& access = *message.GetReflection();
  std::vector<const FieldDescriptor*> present;
  access.ListFields(message, &present);
  int replaced = 0;
  for (const FieldDescriptor* field : present) replaced += scrub_field(message, access, *field);
  return replaced;
}

}  // namespace

Result<void> write_json(const Message& report, const std::string& path) {
  const std::unique_ptr<Message> copy(report.New());
  Message& clean = *copy;
  clean.CopyFrom(report);
  [[maybe_unused]] const int replaced = scrub(clean);
  BULKHEAD_DCHECK(replaced == 0, "{} values in the report are not finite numbers", replaced);

  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(clean, &text, options);
  if (!status.ok())
    return fail(Code::kInternal, "the report has no JSON form: {}", status.ToString());
  if (!text.ends_with('\n')) text += '\n';

  return path == "-" ? write_standard_output(text) : write_file(path, text);
}

}  // namespace bulkhead::coordinator
