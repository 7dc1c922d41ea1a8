#include "program/mandelbrot.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>
#include <stdlib.h>

#include <complex>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/support/run_program.hpp"

namespace bulkhead::program {
namespace {

using testing::HasSubstr;

// A fresh directory, gone at the end.
class MandelbrotTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/mandelbrot-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  static std::string content(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }

  std::string directory_;
};

// The same definition in other words: complex numbers, no early square.
unsigned expected_pixel(unsigned size, unsigned row, unsigned column, unsigned iterations) {
  const double step = 2.5 / size;
  const std::complex<double> point(-2 + (column + 0.5) * step, 1.25 - (row + 0.5) * step);
  std::complex<double> z = 0;
  for (unsigned i = 0; i < iterations; ++i) {
    if (std::norm(z) > 4) return 1 + i % 255;
    z = {z.real() * z.real() - z.imag() * z.imag() + point.real(),
         2 * z.real() * z.imag() + point.imag()};
  }
  return 0;
}

TEST_F(MandelbrotTest, EveryPixelIsWhatTheDefinitionSays) {
  const Mandelbrot program(Settings(Mandelbrot::describe(),
                                    {{"size", "40"}, {"rows", "40"}, {"iterations", "600"}}, {}));
  const MandelbrotResult result = program.work({0, 40});
  ASSERT_EQ(result.pixels.size(), 1600U);
  for (unsigned row = 0; row < 40; ++row) {
    for (unsigned column = 0; column < 40; ++column)
      ASSERT_EQ(result.pixels[row * 40 + column], expected_pixel(40, row, column, 600))
          << row << "," << column;
  }
}

TEST_F(MandelbrotTest, TheAreaComesNearToTheKnownOne) {
  const Answer answer = test::run_program("mandelbrot", {{"size", "512"}, {"iterations", "2000"}});
  const std::string& text = answer.text;
  const double area = std::stod(text.substr(text.find("area: ") + 6));
  EXPECT_NEAR(area, 1.5066, 0.02);
}

TEST_F(MandelbrotTest, EveryWayToCutTheImageGivesTheSameAnswerAndFile) {
  std::string checksum;
  std::string bytes;
  for (const char* rows : {"1", "7", "16", "50", "1000"}) {
    const Answer answer = test::run_program(
        "mandelbrot", {{"size", "50"}, {"rows", rows}, {"out", path("image.png")}});
    const std::string image = content(path("image.png"));
    if (checksum.empty()) {
      checksum = answer.checksum;
      bytes = image;
    }
    EXPECT_EQ(answer.checksum, checksum) << rows;
    EXPECT_EQ(image, bytes) << rows;
  }
  EXPECT_GT(bytes.size(), 100U);
}

TEST_F(MandelbrotTest, TheFileHasThePixelsOfTheJobs) {
  const test::SettingValues values{{"size", "33"}, {"rows", "5"}, {"out", path("image.png")}};
  const Answer with = test::run_program("mandelbrot", values);
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  ASSERT_NE(png_image_begin_read_from_file(&image, path("image.png").c_str()), 0) << image.message;
  EXPECT_EQ(image.width, 33U);
  EXPECT_EQ(image.height, 33U);
  image.format = PNG_FORMAT_RGB;
  std::vector<png_byte> colours(PNG_IMAGE_SIZE(image));
  ASSERT_NE(png_image_finish_read(&image, nullptr, colours.data(), 0, nullptr), 0) << image.message;

  const Mandelbrot program(Settings(Mandelbrot::describe(), {{"size", "33"}, {"rows", "33"}}, {}));
  const MandelbrotResult result = program.work({0, 33});
  for (std::size_t i = 0; i < result.pixels.size(); ++i) {
    const bool black = colours[3 * i] + colours[3 * i + 1] + colours[3 * i + 2] == 0;
    ASSERT_EQ(black, result.pixels[i] == 0) << i;
  }
  // The answer is of the pixels, wherever they are drawn.
  EXPECT_EQ(with.checksum, test::run_program("mandelbrot", {{"size", "33"}}).checksum);
}

TEST_F(MandelbrotTest, AMissingBandChangesTheAnswerAndIsTold) {
  const auto program = test::make_program(
      "mandelbrot", {{"size", "50"}, {"rows", "20"}, {"out", path("image.png")}});
  const Answer whole = test::run_program(*program);
  const Answer gapped = test::run_program(*program, {2});
  EXPECT_NE(gapped.checksum, whole.checksum);
  EXPECT_THAT(whole.text, testing::Not(HasSubstr("missing")));
  EXPECT_THAT(gapped.text, HasSubstr("rows missing: 10 "));
}

TEST_F(MandelbrotTest, APlaceThatCannotBeWrittenIsToldByItsName) {
  const auto program =
      test::make_program("mandelbrot", {{"size", "16"}, {"out", path("nowhere/image.png")}});
  try {
    test::run_program(*program);
    FAIL() << "it was written";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("nowhere/image.png"));
  }
}

TEST_F(MandelbrotTest, ABandThatIsNoneIsRefused) {
  const Mandelbrot program(Settings(Mandelbrot::describe(), {{"size", "100"}}, {}));
  for (const MandelbrotInput band :
       {MandelbrotInput{0, 0}, {100, 1}, {90, 16}, {0, 17}, {4294967295, 16}})
    EXPECT_THROW(program.work(band), std::invalid_argument) << band.first << "," << band.rows;
}

TEST_F(MandelbrotTest, AResultOfAnotherSizeIsRefused) {
  const Mandelbrot program(Settings(Mandelbrot::describe(), {{"size", "100"}}, {}));
  Mandelbrot::Reducer reducer(program);
  const MandelbrotResult odd{{1, 2, 3}};
  EXPECT_THROW(reducer.add(0, &odd), std::runtime_error);
}

}  // namespace
}  // namespace bulkhead::program
