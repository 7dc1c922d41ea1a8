// mandelbrot: draws the Mandelbrot set, a band of rows a job. The bands differ much in length, and
// every result is large: what a model does with uneven jobs and with bytes that must cross.
#include "program/mandelbrot.hpp"

#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <bulkhead/sched/scheduler.hpp>
#include <stdexcept>

namespace bulkhead::program {
namespace {

// The square of the plane that is drawn.
constexpr double kLeft = -2;
constexpr double kTop = 1.25;
constexpr double kSide = 2.5;

// 0, black, is the set; the others go round from dark blue over white and gold, in whole numbers.
std::array<png_byte, 3 * 256> colours() {
  constexpr std::array<std::array<int, 3>, 5> kStops{
      {{0, 7, 100}, {32, 107, 203}, {237, 255, 255}, {255, 170, 0}, {60, 2, 20}}};
  constexpr int kBetween = 51;  // 5 stops share 255 colours
  std::array<png_byte, 3 * 256> table{};
  for (int index = 1; index < 256; ++index) {
    const auto at = static_cast<std::size_t>((index - 1) / kBetween);
    const int part = (index - 1) % kBetween;
    for (std::size_t c = 0; c < 3; ++c) {
      const int from = kStops[at][c];
      const int to = kStops[(at + 1) % kStops.size()][c];
      table[3 * static_cast<std::size_t>(index) + c] =
          static_cast<png_byte>(from + (to - from) * part / kBetween);
    }
  }
  return table;
}

void write_png(const std::string& path, std::uint32_t size,
               const std::vector<std::uint8_t>& pixels) {
  const std::array<png_byte, 3 * 256> table = colours();
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = size;
  image.height = size;
  image.format = PNG_FORMAT_RGB_COLORMAP;
  image.colormap_entries = 256;
  if (png_image_write_to_file(&image, path.c_str(), 0, pixels.data(), 0, table.data()) == 0)
    throw std::runtime_error(fmt::format("cannot write the image '{}': {}", path, image.message));
}

}  // namespace

Description Mandelbrot::describe() {
  return {"mandelbrot",
          "draw the Mandelbrot set, a band of rows a job",
          false,
          {{"size", ParameterType::kInteger, "2048", "width and height in pixels", 16, 16384},
           {"rows", ParameterType::kInteger, "16", "rows in a job", 1, 1024},
           {"iterations", ParameterType::kInteger, "256",
            "after so many a point counts as one of the set", 16, 1e6},
           {"out", ParameterType::kOutput, "", "the image, a PNG file; without it there is none", 0,
            0}}};
}

Mandelbrot::Mandelbrot(const Settings& settings)
    : size_(static_cast<std::uint32_t>(settings.integer("size"))),
      rows_(static_cast<std::uint32_t>(settings.integer("rows"))),
      iterations_(static_cast<std::uint32_t>(settings.integer("iterations"))),
      out_(settings.output("out")) {}

void Mandelbrot::source(const Emit<Input>& emit) const {
  for (std::uint32_t first = 0; first < size_; first += rows_) {
    if (!emit({first, std::min(rows_, size_ - first)})) return;
  }
}

std::uint8_t Mandelbrot::pixel(double real, double imaginary) const {
  double x = 0;
  double y = 0;
  for (std::uint32_t i = 0; i < iterations_; ++i) {
    const double xx = x * x;
    const double yy = y * y;
    if (xx + yy > 4) return static_cast<std::uint8_t>(1 + i % 255);
    y = 2 * x * y + imaginary;
    x = xx - yy + real;
  }
  return 0;
}

MandelbrotResult Mandelbrot::work(const Input& input) const {
  if (input.first >= size_ || input.rows == 0 || input.rows > size_ - input.first ||
      input.rows > rows_)
    throw std::invalid_argument(fmt::format("rows {} and {} more are no band of an image of {}",
                                            input.first, input.rows, size_));
  MandelbrotResult result;
  result.pixels.reserve(std::size_t{input.rows} * size_);
  const double step = kSide / size_;
  for (std::uint32_t row = input.first; row < input.first + input.rows; ++row) {
    const double imaginary = kTop - (row + 0.5) * step;
    for (std::uint32_t column = 0; column < size_; ++column)
      result.pixels.push_back(pixel(kLeft + (column + 0.5) * step, imaginary));
    sched::checkpoint();
  }
  return result;
}

std::uint32_t Mandelbrot::rows_of(std::uint64_t job) const {
  const std::uint64_t first = job * rows_;
  return first >= size_ ? 0 : std::min(rows_, size_ - static_cast<std::uint32_t>(first));
}

Mandelbrot::Reducer::Reducer(const Mandelbrot& program) : program_(program) {
  if (!program.out_.empty()) image_.reserve(std::size_t{program.size_} * program.size_);
}

void Mandelbrot::Reducer::add(std::uint64_t job, const MandelbrotResult* result) {
  const std::size_t expected = std::size_t{program_.rows_of(job)} * program_.size_;
  if (result == nullptr) {
    missing_rows_ += program_.rows_of(job);
    digest_.add("missing");
    if (!program_.out_.empty()) image_.resize(image_.size() + expected);
    return;
  }
  const std::vector<std::uint8_t>& pixels = result->pixels;
  if (pixels.size() != expected)
    throw std::runtime_error(
        fmt::format("job {} gave {} pixels, not {}", job, pixels.size(), expected));
  digest_.add({reinterpret_cast<const char*>(pixels.data()), pixels.size()});
  inside_ += static_cast<std::uint64_t>(std::count(pixels.begin(), pixels.end(), 0));
  if (!program_.out_.empty()) image_.insert(image_.end(), pixels.begin(), pixels.end());
}

Answer Mandelbrot::Reducer::finish() {
  const double pixels = static_cast<double>(program_.size_) * program_.size_;
  Answer answer;
  answer.checksum = hex16(digest_.fold());
  answer.text =
      fmt::format("size: {} x {}\npoints of the set: {}\narea: {:.6f}\n", program_.size_,
                  program_.size_, inside_, static_cast<double>(inside_) / pixels * kSide * kSide);
  if (missing_rows_ > 0)
    answer.text += fmt::format("rows missing: {} (drawn as if of the set)\n", missing_rows_);
  if (!program_.out_.empty()) write_png(program_.out_, program_.size_, image_);
  return answer;
}

BULKHEAD_JOBS_PROGRAM(Mandelbrot);

}  // namespace bulkhead::program
