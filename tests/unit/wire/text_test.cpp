#include <gtest/gtest.h>

#include <bulkhead/wire/text.hpp>
#include <random>

namespace bulkhead::wire {
namespace {

TEST(PrintableTest, TextOfEveryLanguageStays) {
  const std::string text = "plain, Grüße, Ελλάδα, 日本語, 🛳 and \\x1b";
  EXPECT_EQ(printable(text), text);
  EXPECT_EQ(printable(""), "");
  // The ends of each length of UTF-8.
  const std::string ends = "\u00a0\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff";
  EXPECT_EQ(printable(ends), ends);
}

TEST(PrintableTest, EscapeSequencesLoseTheirPower) {
  EXPECT_EQ(printable("\x1b[31mred\x1b]0;title\x07"), "\\x1b[31mred\\x1b]0;title\\x07");
  EXPECT_EQ(printable(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable("\x7f"), "\\x7f");
  EXPECT_EQ(printable("\u009b31m"), "\\xc2\\x9b31m");         // CSI in one character
  EXPECT_EQ(printable("\u202eevil"), "\\xe2\\x80\\xaeevil");  // right to left from here
  EXPECT_EQ(printable("\u2028"), "\\xe2\\x80\\xa8");
}

TEST(PrintableTest, NewlineAndTabStayOnRequestOnly) {
  EXPECT_EQ(printable("a\n\tb\r", 100, true), "a\n\tb\\x0d");
  EXPECT_EQ(printable("a\n\tb"), "a\\x0a\\x09b");
}

TEST(PrintableTest, BytesThatAreNotUtf8AreShown) {
  EXPECT_EQ(printable("caf\xe9!"), "caf\\xe9!");
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("\x80"), "\\x80");           // continuation alone
  EXPECT_EQ(printable("\xc3"), "\\xc3");           // cut off
  EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82");  // cut off
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");  // overlong
  EXPECT_EQ(printable("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond U+10FFFF
  EXPECT_EQ(printable("\xc3(ok"), "\\xc3(ok");  // the next byte is not swallowed
}

TEST(PrintableTest, LongTextIsCutBetweenCharacters) {
  EXPECT_EQ(printable("1234567890", 10), "1234567890");
  EXPECT_EQ(printable("12345678901", 10), "1234567…");
  EXPECT_EQ(printable("12345ü78901", 10), "12345ü…");
  EXPECT_EQ(printable("123456ü8901", 10), "123456…");
  EXPECT_EQ(printable("1234\x1b"
                      "78901",
                      10),
            "1234…");  // never half an escape
  EXPECT_EQ(printable("1234", 3), "…");
  EXPECT_EQ(printable("1234", 2), "");
  EXPECT_EQ(printable("1234", 0), "");
}

TEST(PrintableTest, NothingGetsThroughAndTheLimitHolds) {
  std::mt19937 random(20240607);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const std::size_t limit = random() % 80;
    const std::string text = printable(bytes, limit);
    ASSERT_LE(text.size(), limit);
    ASSERT_EQ(printable(text), text);  // what came out is clean by the same rule
  }
}

}  // namespace
}  // namespace bulkhead::wire
