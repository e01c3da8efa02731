// List files of a data set, over two small folders.
#include <filesystem>
#include <fstream>

#include "framework/data/listing.hpp"
#include "tests/fuzz/target.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::fuzz {

int image_list(const std::uint8_t* data, std::size_t size) {
  namespace fs = std::filesystem;
  using strata::data::FileColumn;
  static const strata::tests::TempDir dir;
  static const std::string list = [] {
    for (const char* name : {"A/a.png", "A/b.png", "A/sub/c.png", "B/a.png", "B/b.tif"}) {
      std::ofstream(dir / name);
    }
    // The list must lie in the folder that its paths count from.
    fs::create_symlink(as_file("", 0), dir / "list.txt");
    return dir / "list.txt";
  }();
  static const std::vector<FileColumn> columns{{"image", dir / "A", "image_dir", ".png", "suffix"},
                                               {"label", dir / "B", "label_dir", "", "suffix"}};
  as_file(data, size);
  run(list, [&] {
    for (const auto& sample : strata::data::list_samples(columns, {list, false})) {
      require(sample.files.size() == columns.size(), "a sample lacks a file");
      for (const std::string& file : sample.files) {
        require(fs::is_regular_file(file.c_str()), "listed, but no file: " + file);
      }
    }
  });
  return 0;
}

}  // namespace strata::fuzz
