// wordcount: files, words, distinct words and the most frequent ones below the inputs.
//
// A word is a maximal run of bytes other than space, \t \n \v \f \r, within one file. A large file
// is cut into pieces at any byte: a word belongs to the piece that it starts in. So a piece looks
// at the byte before it, to leave out a word that began earlier, and reads on beyond its end until
// its own last word is whole. A piece inside a word costs one scan and yields nothing, so a word of
// any length costs no more than its bytes.
#include "program/wordcount.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <cerrno>
#include <numeric>
#include <stdexcept>

#include "program/hash.hpp"

namespace bulkhead::program {
namespace {

constexpr std::uint64_t kBlock = 64 * 1024;  // read at once: stays in the second-level cache
constexpr std::uint64_t kBeyond = 128;       // read with a piece, for the rest of its last word
constexpr std::size_t kMostInJob = 1024;     // pieces or skipped paths
constexpr std::size_t kMostShown = 20;       // skipped paths in the answer
constexpr std::size_t kShownBytes = 120;     // of a word in the answer

constexpr auto kSpaces = [] {
  std::array<bool, 256> spaces{};
  for (const char c : {' ', '\t', '\n', '\v', '\f', '\r'}) {
    spaces[static_cast<unsigned char>(c)] = true;
  }
  return spaces;
}();

bool is_space(char c) { return kSpaces[static_cast<unsigned char>(c)]; }

const char* find_space(const char* from, const char* end) {
  while (from < end && !is_space(*from)) ++from;
  return from;
}
const char* find_word(const char* from, const char* end) {
  while (from < end && is_space(*from)) ++from;
  return from;
}

// A word that comes in portions. One that is too long to keep (a binary file can be a single word)
// is named by its beginning, length and digest instead; the spaces in that name keep it apart from
// all words.
class KeptWord {
 public:
  void append(std::string_view portion) {
    length_ += portion.size();
    if (length_ <= WordTable::kLongestWord) {
      kept_ += portion;
      return;
    }
    if (length_ - portion.size() == kept_.size()) digest_.add(kept_);
    digest_.add(portion);
    kept_ += portion.substr(0, kBeginning);
    kept_.resize(kBeginning);
    overlong_ = true;
  }
  bool empty() const { return length_ == 0; }
  std::string name() const {
    if (!overlong_) return kept_;
    return fmt::format("{} ({} bytes, digest {}{})", kept_, length_, hex16(digest_.high()),
                       hex16(digest_.low()));
  }

 private:
  static constexpr std::size_t kBeginning = 32;

  std::string kept_;
  std::uint64_t length_ = 0;
  Digest digest_;
  bool overlong_ = false;
};

// Counts the words that start in one piece.
class PieceReader {
 public:
  PieceReader(const Piece& piece, std::vector<char>& buffer, WordcountResult& result)
      : piece_(piece), buffer_(buffer), result_(result), fd_(open_file(piece.path)) {
    if (!fd_) changed(errno == ENOENT ? "vanished" : "became unreadable: " + error_text(errno));
  }

  void count() {
    check_unchanged();
    if (piece_.offset == 0) ++result_.files;
    if (piece_.length > 0) count_words();
    check_unchanged();
  }

 private:
  [[noreturn]] void changed(const std::string& how) const {
    throw std::runtime_error(fmt::format("'{}' {} since the source listed it", piece_.path, how));
  }

  void check_unchanged() const {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) changed("became unreadable: " + error_text(errno));
    if (!S_ISREG(status.st_mode)) changed(fmt::format("became a {}", kind_of_file(status)));
    if (static_cast<std::uint64_t>(status.st_size) != piece_.size)
      changed(fmt::format("changed its size from {} to {} bytes", piece_.size, status.st_size));
    if (modified_ns(status) != piece_.modified_ns) changed("was modified");
  }

  void count_words() {
    const std::uint64_t end = piece_.offset + piece_.length;
    std::uint64_t position = piece_.offset - (piece_.offset > 0 ? 1 : 0);
    bool in_earlier_word = piece_.offset > 0;  // until a space is seen
    KeptWord split;                            // of the block before
    while (position < piece_.size && (position < end || !split.empty())) {
      const std::uint64_t wanted = position < end ? end + kBeyond - position : kBlock;
      const std::string_view block = read(position, wanted);
      const char* const stop = block.data() + block.size();
      const char* const own =
          block.data() + std::min<std::uint64_t>(block.size(), end > position ? end - position : 0);
      position += block.size();
      sched::checkpoint();

      const char* at = block.data();
      if (in_earlier_word) {
        at = find_space(at, stop);
        if (at == stop) continue;
        in_earlier_word = false;
      }
      if (!split.empty()) {
        const char* const word_end = find_space(at, stop);
        split.append({at, word_end});
        if (word_end == stop) continue;
        add(split.name());
        split = {};
        at = word_end;
      }
      for (at = find_word(at, own); at < own; at = find_word(at, own)) {
        const char* const word_end = find_space(at, stop);
        if (word_end == stop) {
          split.append({at, word_end});
          break;
        }
        add({at, word_end});
        at = word_end;
      }
    }
    if (!split.empty()) add(split.name());
  }

  void add(std::string_view word) {
    ++result_.words;
    if (word.size() <= WordTable::kLongestWord) return result_.table.add(word, 1);
    KeptWord overlong;
    overlong.append(word);
    result_.table.add(overlong.name(), 1);
  }

  // Up to `wanted` bytes and a block, all of them.
  std::string_view read(std::uint64_t position, std::uint64_t wanted) {
    const std::uint64_t size = std::min({wanted, kBlock, piece_.size - position});
    buffer_.resize(kBlock);
    std::uint64_t done = 0;
    while (done < size) {
      const ssize_t got = ::pread(fd_.get(), buffer_.data() + done, size - done,
                                  static_cast<off_t>(position + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) changed("became unreadable: " + error_text(errno));
      if (got == 0)
        changed(fmt::format("ends at byte {} of {}, it was cut", position + done, piece_.size));
      done += static_cast<std::uint64_t>(got);
    }
    return {buffer_.data(), size};
  }

  const Piece& piece_;
  std::vector<char>& buffer_;
  WordcountResult& result_;
  base::UniqueFd fd_;
};

// Packs pieces into jobs of about a chunk. Opening a file costs something too.
class Packer {
 public:
  Packer(std::uint64_t chunk, const Emit<WordcountInput>& emit)
      : chunk_(chunk), file_cost_(std::min<std::uint64_t>(1024, chunk / 64)), emit_(emit) {}

  bool add(const FoundFile& file) {
    std::uint64_t offset = 0;
    do {
      const std::uint64_t length = std::min(chunk_, file.size - offset);
      const std::uint64_t cost = length + file_cost_;
      if (cost_ > 0 && cost_ + cost > chunk_ && !flush()) return false;
      job_.pieces.push_back({file.path, offset, length, file.size, file.modified_ns});
      if (!grown_by(cost)) return false;
      offset += length;
    } while (offset < file.size);
    return true;
  }
  bool add(SkippedPath skipped) {
    job_.skipped.push_back(std::move(skipped));
    return grown_by(file_cost_);
  }
  bool flush() {
    if (job_.pieces.empty() && job_.skipped.empty()) return true;
    cost_ = 0;
    return emit_(std::exchange(job_, {}));
  }

 private:
  bool grown_by(std::uint64_t cost) {
    cost_ += cost;
    const bool full = cost_ >= chunk_ || job_.pieces.size() + job_.skipped.size() >= kMostInJob;
    return !full || flush();
  }

  const std::uint64_t chunk_;
  const std::uint64_t file_cost_;
  const Emit<WordcountInput>& emit_;
  WordcountInput job_;
  std::uint64_t cost_ = 0;
};

// One line of the answer stays one line, whatever is in a name.
std::string one_line(std::string_view bytes, std::size_t limit) {
  std::string line;
  for (const char c : bytes.substr(0, limit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      line += fmt::format("\\x{:02x}", byte);
    else
      line += c;
  }
  if (bytes.size() > limit) line += fmt::format("… ({} bytes)", bytes.size());
  return line;
}

}  // namespace

Description Wordcount::describe() {
  return {"wordcount",
          "count words in files and folders, recursively",
          true,
          {{"chunk", ParameterType::kSize, "262144",
            "bytes in a job: small files are packed together, large ones are cut", 1, 1 << 30},
           {"top", ParameterType::kInteger, "10", "how many of the most frequent words to show", 0,
            1e6}}};
}

Wordcount::Wordcount(const Settings& settings)
    : inputs_(settings.inputs()),
      chunk_(settings.size("chunk")),
      top_(static_cast<std::size_t>(settings.integer("top"))) {}

void Wordcount::source(const Emit<Input>& emit) const {
  Packer packer(chunk_, emit);
  bool stopped = false;
  walk_files(inputs_,
             {[&](const FoundFile& file) { return !(stopped = !packer.add(file)); },
              [&](SkippedPath skipped) { return !(stopped = !packer.add(std::move(skipped))); }});
  if (!stopped) packer.flush();
}

WordcountResult Wordcount::work(const Input& input) const {
  WordcountResult result;
  result.skipped = input.skipped;
  std::vector<char> buffer;
  for (const Piece& piece : input.pieces) PieceReader(piece, buffer, result).count();
  result.table.shrink();
  return result;
}

void Wordcount::Reducer::add(std::uint64_t, const Result* result) {
  if (result == nullptr) {
    ++missing_;
    return;
  }
  files_ += result->files;
  words_ += result->words;
  table_.merge(result->table);
  for (const SkippedPath& skipped : result->skipped) {
    ++skipped_;
    skipped_sum_ += digest_of(skipped.path);
    if (first_skipped_.size() < kMostShown) first_skipped_.push_back(skipped);
  }
}

// The same for the same words, whatever the jobs and the order they came in: a sum.
std::string Wordcount::Reducer::checksum() const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < table_.size(); ++i)
    sum += mix(digest_of(table_.word(i)) + mix(table_.count(i)));
  for (const std::uint64_t total :
       {files_, words_, std::uint64_t{table_.size()}, skipped_, skipped_sum_, missing_})
    sum = mix(sum) + total;
  return hex16(mix(sum));
}

std::string Wordcount::Reducer::most_frequent() const {
  std::vector<std::size_t> order(table_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto shown = std::min(top_, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown), order.end(),
                    [&](std::size_t a, std::size_t b) {
                      if (table_.count(a) != table_.count(b))
                        return table_.count(a) > table_.count(b);
                      return table_.word(a) < table_.word(b);
                    });
  std::string text;
  for (std::size_t i = 0; i < shown; ++i)
    text += fmt::format("{:>10}  {}\n", table_.count(order[i]),
                        one_line(table_.word(order[i]), kShownBytes));
  return text;
}

Answer Wordcount::Reducer::finish() {
  Answer answer;
  answer.checksum = checksum();
  answer.text =
      fmt::format("files: {}\nwords: {}\ndistinct words: {}\n", files_, words_, table_.size());
  answer.text += most_frequent();
  if (skipped_ > 0) {
    answer.text += fmt::format("not counted: {}\n", skipped_);
    for (const SkippedPath& skipped : first_skipped_)
      answer.text += fmt::format("  {}: {}\n", one_line(skipped.path, skipped.path.size()),
                                 one_line(skipped.reason, skipped.reason.size()));
    if (skipped_ > first_skipped_.size())
      answer.text += fmt::format("  and {} more\n", skipped_ - first_skipped_.size());
  }
  if (missing_ > 0)
    answer.text += fmt::format(
        "jobs missing: {} (their files and words are not in these figures)\n", missing_);
  return answer;
}

BULKHEAD_JOBS_PROGRAM(Wordcount);

}  // namespace bulkhead::program
