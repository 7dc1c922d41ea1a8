#include "transfer.hpp"

#include <stdexcept>
#include <utility>

namespace bulkhead::worker {
namespace {

using program::Value;

Value checked(Result<Value> decoded, const char* what) {
  if (decoded) return std::move(*decoded);
  throw std::runtime_error(std::string(what) + " can't be decoded: " + decoded.error().text);
}

class TransferringJobs final : public program::ErasedJobs {
 public:
  TransferringJobs(const program::ErasedJobs& program, bool encodes)
      : program_(program), encodes_(encodes) {}

  void source(std::uint64_t from, const std::function<bool(Value)>& emit) const override {
    program_.source(from, [&](const Value& input) { return emit(another_input(input)); });
  }
  Value work(const Value& input, const std::function<void()>& first) const override {
    return another_result(program_.work(input, first));
  }
  std::unique_ptr<program::ErasedReducer> reducer() const override { return program_.reducer(); }
  std::string encode_input(const Value& input) const override {
    return program_.encode_input(input);
  }
  std::string encode_result(const Value& result) const override {
    return program_.encode_result(result);
  }
  Result<Value> decode_input(std::string_view bytes) const override {
    return program_.decode_input(bytes);
  }
  Result<Value> decode_result(std::string_view bytes) const override {
    return program_.decode_result(bytes);
  }
  Value copy_input(const Value& input) const override { return program_.copy_input(input); }
  Value copy_result(const Value& result) const override { return program_.copy_result(result); }

 private:
  Value another_input(const Value& input) const {
    if (encodes_) return checked(program_.decode_input(program_.encode_input(input)), "an input");
    return program_.copy_input(input);
  }
  Value another_result(const Value& result) const {
    if (encodes_)
      return checked(program_.decode_result(program_.encode_result(result)), "a result");
    return program_.copy_result(result);
  }

  const program::ErasedJobs& program_;
  const bool encodes_;
};

}  // namespace

Transfer transfer_of(std::string_view name) {
  if (name == "copy") return Transfer::kCopy;
  return name == "encode" ? Transfer::kEncode : Transfer::kMove;
}

std::unique_ptr<program::ErasedJobs> transferring(const program::ErasedJobs& program,
                                                  Transfer transfer) {
  return std::make_unique<TransferringJobs>(program, transfer == Transfer::kEncode);
}

}  // namespace bulkhead::worker
