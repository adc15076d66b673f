#include "morphvlm/core/error.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "tests/support/message.hpp"

namespace morphvlm::error_test {
namespace {

using testing::message_of;

TEST(Error, FailStreamsAllPartsIntoOneMessage) {
  const std::string key = "q_proj.weight";
  EXPECT_EQ(message_of([&] { fail("model.bin: key ", key, ": expected ", 3, " found ", 2.5, '.'); }),
            "model.bin: key q_proj.weight: expected 3 found 2.5.");
}

TEST(Error, ExpectThrowsExactlyWhenTheConditionDoesNotHold) {
  EXPECT_NO_THROW(expect(true, "never seen"));
  EXPECT_EQ(message_of([] { expect(false, "seen ", 1, " time"); }), "seen 1 time");
}

TEST(Error, IsARuntimeErrorSoThatAnyHandlerSeesTheMessage) {
  try {
    fail("as a base");
  } catch (const std::runtime_error& e) {
    EXPECT_STREQ(e.what(), "as a base");
    return;
  }
  FAIL() << "nothing was thrown";
}

}  // namespace
}  // namespace morphvlm::error_test
