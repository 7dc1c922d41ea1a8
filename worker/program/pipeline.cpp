// pipeline: files go in blocks through four tasks, each with its own part of the work.
//
//   read --blocks--> transform --lowered--> hash --digests--> count
#include <fmt/format.h>
#include <unistd.h>

#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/program.hpp>
#include <cerrno>

#include "program/file_walk.hpp"
#include "program/hash.hpp"

namespace bulkhead::program {
namespace {

struct Block {
  std::uint64_t file = 0;  // from 0, in walking order
  std::string bytes;
  BULKHEAD_FIELDS(file, bytes)
};

struct BlockDigest {
  std::uint64_t bytes = 0;
  std::uint64_t lines = 0;
  std::uint64_t words = 0;  // that begin in the block
  std::uint64_t digest = 0;
  BULKHEAD_FIELDS(bytes, lines, words, digest)
};

// Files that were read, and what could not be: sent behind the last block.
struct Reading {
  std::uint64_t files = 0;
  std::uint64_t skipped = 0;
  BULKHEAD_FIELDS(files, skipped)
};

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\v' || c == '\f' || c == '\r';
}

void lower(std::string& bytes) {
  for (char& c : bytes) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
}

class Pipeline {
 public:
  static Description describe() {
    Description description{
        "pipeline",
        "files in blocks through four tasks: read, transform, hash, count",
        true,
        {{"block", ParameterType::kSize, "65536", "bytes that are read at once", 1, 16 << 20},
         {"capacity", ParameterType::kInteger, "4", "of each channel, in blocks", 0, 65'536}}};
    description.unit = "blocks";
    return description;
  }

  explicit Pipeline(const Settings& settings)
      : inputs_(settings.inputs()),
        block_(settings.size("block")),
        capacity_(static_cast<std::size_t>(settings.integer("capacity"))) {}

  void build(Net& net) {
    auto& blocks = net.channel<Block>("blocks", capacity_);
    auto& lowered = net.channel<Block>("lowered", capacity_);
    auto& digests = net.channel<BlockDigest>("digests", capacity_);
    auto& reading = net.channel<Reading>("reading", 1);

    Net::Task read = net.task("read");
    read.runs([this, out = read.sends(blocks), end = read.sends(reading)] {
      const Reading what = read_files(*out);
      out->close();
      end->send(what);
    });
    Net::Task transform = net.task("transform");
    transform.runs([in = transform.receives(blocks), out = transform.sends(lowered)] {
      for (Block& block : *in) {
        lower(block.bytes);
        out->send(std::move(block));
      }
    });
    Net::Task hash = net.task("hash");
    hash.runs([in = hash.receives(lowered), out = hash.sends(digests)] {
      std::uint64_t file = 0;
      bool between = true;  // no word goes on from the block before
      for (const Block& block : *in) {
        if (std::exchange(file, block.file) != block.file) between = true;
        out->send(digest_of_block(block, between));
      }
    });
    Net::Task count = net.task("count");
    count.runs([&net, in = count.receives(digests), end = count.receives(reading)] {
      BlockDigest sum;
      std::uint64_t received = 0;
      for (const BlockDigest& one : *in) {
        sum.bytes += one.bytes;
        sum.lines += one.lines;
        sum.words += one.words;
        sum.digest = mix(sum.digest + one.digest);  // their order counts
        ++received;
      }
      net.did(received);
      return answer(sum, end->receive().value_or(Reading{}));
    });
  }

 private:
  Reading read_files(const sched::Sender<Block>& out) const {
    Reading reading;
    walk_files(inputs_,
               {.file =
                    [&](const FoundFile& found) {
                      (read_file(found, reading.files, out) ? reading.files : reading.skipped) += 1;
                      return true;
                    },
                .skipped =
                    [&](const SkippedPath&) {
                      ++reading.skipped;
                      return true;
                    }});
    return reading;
  }

  // False: it cannot be read.
  bool read_file(const FoundFile& found, std::uint64_t number,
                 const sched::Sender<Block>& out) const {
    const base::UniqueFd file(open_file(found.path));
    if (!file) return false;
    bool any = false;
    for (;;) {
      Block block{number, std::string(block_, '\0')};
      std::size_t filled = 0;
      while (filled < block_) {
        const ssize_t got = ::read(file.get(), block.bytes.data() + filled, block_ - filled);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && !any && filled == 0) return false;
        if (got <= 0) break;  // one that fails in its middle ends there
        filled += static_cast<std::size_t>(got);
      }
      if (filled == 0) return true;
      any = true;
      block.bytes.resize(filled);
      out.send(std::move(block));
      if (filled < block_) return true;
    }
  }

  static BlockDigest digest_of_block(const Block& block, bool& between) {
    BlockDigest digest{.bytes = block.bytes.size(), .digest = digest_of(block.bytes)};
    for (const char c : block.bytes) {
      if (c == '\n') ++digest.lines;
      const bool space = is_blank(c);
      if (between && !space) ++digest.words;
      between = space;
    }
    return digest;
  }

  static Answer answer(const BlockDigest& sum, const Reading& reading) {
    return {hex16(mix(sum.digest ^ mix(sum.words)) ^ mix(reading.files)),
            fmt::format("files: {}\nskipped: {}\nbytes: {}\nlines: {}\nwords: {}", reading.files,
                        reading.skipped, sum.bytes, sum.lines, sum.words)};
  }

  const std::vector<std::string> inputs_;
  const std::size_t block_;
  const std::size_t capacity_;
};

BULKHEAD_NETWORK(Pipeline);

}  // namespace
}  // namespace bulkhead::program
