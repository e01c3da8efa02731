#include "framework/io/event_file.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::io {
namespace {

// The same records as tests/parity/events.py, whose file TensorBoard's own package wrote and reads.
TEST(EventFile, IsWhatTensorBoardItselfWrites) {
  const tests::TempDir folder;
  std::string picture;
  for (int i = 0; i < 512; ++i) picture += static_cast<char>(i % 256);
  {
    EventFile file(folder / "events", 1000.25);
    file.add_scalar("loss", 1, 1001.5, 0.6931471805599453);
    file.add_scalar("decode_head.loss_ce", 1, 1001.5, -1.5);
    file.add_scalar("val.miou", 300, 1002.75, std::numeric_limits<double>::quiet_NaN());
    file.add_picture("val/0004", 250, 1003.0, 12, 300, picture);
    file.forget_from(301, 1004.0);
    file.add_scalar("loss", 301, 1005.0, 0.0);
  }
  EXPECT_TRUE(read_text(folder / "events") ==
              read_text(STRATA_SOURCE_DIR "/tests/data/events/tensorboard.tfevents"));
}

TEST(EventFile, AFolderThatIsNotThereIsTold) {
  const tests::TempDir folder;
  const std::string path = folder.path() + "/none/events";
  try {
    EventFile file(path, 0.0);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()), path + ": cannot be written: No such file or directory");
  }
}

}  // namespace
}  // namespace strata::io
