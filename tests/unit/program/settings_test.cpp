#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bulkhead/program/jobs.hpp>
#include <bulkhead/program/settings.hpp>
#include <stdexcept>

namespace bulkhead::program {
namespace {

using testing::HasSubstr;

Description every_type() {
  return {"example",
          "an example",
          false,
          {{"count", ParameterType::kInteger, "5", "", -10, 10},
           {"bytes", ParameterType::kSize, "1024", "", 1, 1e19},
           {"wait", ParameterType::kDuration, "0", "", 0, 1e18},
           {"word", ParameterType::kText, "none", "", 0, 0},
           {"picture", ParameterType::kOutput, "", "", 0, 0}}};
}

std::string refusal(const std::map<std::string, std::string>& values,
                    std::vector<std::string> inputs = {}) {
  try {
    const Settings settings(every_type(), values, std::move(inputs));
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(SettingsTest, DefaultsStandWhereNothingWasGiven) {
  const Settings settings(every_type(), {{"count", "-7"}, {"word", "a=b"}}, {});
  EXPECT_EQ(settings.integer("count"), -7);
  EXPECT_EQ(settings.size("bytes"), 1024U);
  EXPECT_EQ(settings.duration("wait"), std::chrono::nanoseconds(0));
  EXPECT_EQ(settings.text("word"), "a=b");
}

TEST(SettingsTest, AFileToWriteIsNoneOrThePlaceThatWasGiven) {
  EXPECT_EQ(Settings(every_type(), {}, {}).output("picture"), "");
  EXPECT_EQ(Settings(every_type(), {{"picture", "/run/7"}}, {}).output("picture"), "/run/7");
}

TEST(SettingsTest, ADurationBecomesIterationsByTheCalibration) {
  Description computing = every_type();
  computing.wants_calibration = true;
  const auto iterations = [&](const char* wait, double rate) {
    return Settings(computing, {{"wait", wait}}, {}, rate).iterations("wait");
  };
  EXPECT_EQ(iterations("0", 5e8), 0U);
  EXPECT_EQ(iterations("50000", 5e8), 25000U);
  EXPECT_EQ(iterations("3", 5e8), 2U);  // to the nearest
  EXPECT_EQ(iterations("1000000000000000000", 1e11), 10'000'000'000'000'000'000U);
  EXPECT_THROW(Settings(computing, {}, {}), std::invalid_argument);
}

TEST(SettingsTest, AnUnknownNameIsRefusedWithTheKnownOnes) {
  EXPECT_THAT(refusal({{"cuont", "1"}}),
              testing::AllOf(HasSubstr("'cuont'"), HasSubstr("count, bytes, wait, word, picture")));
}

TEST(SettingsTest, TextThatIsNotCanonicalIsRefused) {
  for (const char* text :
       {"", "+1", "01", "-0", "1 ", " 1", "1e3", "0x1", "4KiB", "99999999999999999999"})
    EXPECT_THAT(refusal({{"count", text}}), HasSubstr("an integer in decimal digits")) << text;
  EXPECT_THAT(refusal({{"bytes", "-1"}}), HasSubstr("a size in bytes"));
  EXPECT_THAT(refusal({{"wait", "-1"}}), HasSubstr("a duration in nanoseconds"));
  EXPECT_EQ(refusal({{"bytes", "9999999999999999999"}}), "accepted");
}

TEST(SettingsTest, ANumberOutOfRangeIsRefusedWithTheRange) {
  EXPECT_THAT(refusal({{"count", "11"}}), HasSubstr("between -10 and 10"));
  EXPECT_THAT(refusal({{"bytes", "0"}}), HasSubstr("between 1 and"));
  EXPECT_EQ(refusal({{"count", "10"}}), "accepted");
}

TEST(SettingsTest, InputsAreGivenExactlyToProgramsThatTakeThem) {
  EXPECT_THAT(refusal({}, {"/tmp"}), HasSubstr("takes no --input"));
  Description taking = every_type();
  taking.takes_input = true;
  EXPECT_THROW(Settings(taking, {}, {}), std::invalid_argument);
  EXPECT_EQ(Settings(taking, {}, {"a", "b"}).inputs(), (std::vector<std::string>{"a", "b"}));
}

TEST(SettingsDeathTest, AskingForWhatIsNotDescribedAborts) {
  const Settings settings(every_type(), {}, {});
  EXPECT_DEATH(static_cast<void>(settings.integer("nothing")), "no setting 'nothing'");
  EXPECT_DEATH(static_cast<void>(settings.integer("word")), "'word' is not an integer");
  EXPECT_DEATH(static_cast<void>(settings.output("word")), "'word' is not a file to write");
  EXPECT_DEATH(static_cast<void>(settings.iterations("wait")), "wants no calibration");
}

TEST(DigestTest, EveryPartOfADescriptionChangesIt) {
  const std::string plain = digest(every_type(), "build");
  EXPECT_EQ(plain.size(), 16U);
  EXPECT_EQ(plain, digest(every_type(), "build"));
  EXPECT_NE(plain, digest(every_type(), "other"));
  Description changed = every_type();
  changed.parameters[0].default_value = "6";
  EXPECT_NE(plain, digest(changed, "build"));
  changed = every_type();
  changed.takes_input = true;
  EXPECT_NE(plain, digest(changed, "build"));
  changed = every_type();
  changed.wants_calibration = true;
  EXPECT_NE(plain, digest(changed, "build"));
  changed = every_type();
  changed.name = "examplea";  // the same letters in another field
  changed.summary = "n example";
  EXPECT_NE(plain, digest(changed, "build"));
}

TEST(RegistryTest, BuiltInProgramsAreFoundByNameAndSorted) {
  ASSERT_NE(find_program("wordcount"), nullptr);
  ASSERT_NE(find_program("primes"), nullptr);
  EXPECT_EQ(find_program("primes")->description.name, "primes");
  EXPECT_EQ(find_program("prime"), nullptr);
  EXPECT_EQ(find_program("zzz"), nullptr);
  for (std::size_t i = 1; i < registry().size(); ++i)
    EXPECT_LT(registry()[i - 1].description.name, registry()[i].description.name);
}

TEST(RegistryDeathTest, TwoProgramsOfOneNameAbort) {
  EXPECT_DEATH(register_program({find_program("primes")->description, {}}),
               "two programs are called 'primes'");
}

}  // namespace
}  // namespace bulkhead::program
