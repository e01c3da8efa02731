// The commands as a user runs them: drawn scenes -> training -> scores -> predictions.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace {

namespace fs = std::filesystem;

struct Result {
  int status = -1;
  std::string output;  // stdout and stderr together
};

Result run(const std::string& command) {
  Result result;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 4096> part;
  std::size_t size = 0;
  while ((size = std::fread(part.data(), 1, part.size(), pipe)) > 0) {
    result.output.append(part.data(), size);
  }
  const int status = ::pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

const std::string kTools = STRATA_BINARY_DIR "/tools/";
const std::string kConfig = STRATA_SOURCE_DIR "/configs/quickstart.toml";

class EndToEnd : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = fs::temp_directory_path() / ("strata_end_to_end_" + std::to_string(::getpid()));
    fs::create_directories(root_);
    const Result drawn = run(kTools + "make_scenes --out " + scenes() +
                             " --train 8 --val 2 --test 2 --size 64 --seed 5");
    ASSERT_EQ(drawn.status, 0) << drawn.output;
  }
  static void TearDownTestSuite() { fs::remove_all(root_); }

  static std::string scenes() { return (root_ / "scenes").string(); }
  static std::string dir(const std::string& name) { return (root_ / name).string(); }

  // The quickstart's config, small: 64-pixel pictures, a few steps.
  static std::string small(const std::string& work_dir, const std::string& more = "") {
    return kConfig + " --set runtime.work_dir=" + dir(work_dir) +
           " --set 'vars.crop=[64, 64]' --set data.train.batch_size=2 --set train.steps=4"
           " --set evaluate.interval=2 --set train.log_interval=1 " +
           more;
  }
  static Result tool(const std::string& name, const std::string& arguments) {
    return run("SCENES=" + scenes() + " " + kTools + name + " " + arguments);
  }

  static fs::path root_;
};
fs::path EndToEnd::root_;

TEST_F(EndToEnd, TrainsTestsAndPredicts) {
  const Result trained = tool("train", small("a"));
  ASSERT_EQ(trained.status, 0) << trained.output;
  EXPECT_NE(trained.output.find("f1.changed"), std::string::npos) << trained.output;

  const std::string metrics = dir("metrics.json");
  const Result tested = tool("test", small("a") + " --metrics-out " + metrics);
  ASSERT_EQ(tested.status, 0) << tested.output;
  const auto scores = nlohmann::json::parse(read(metrics));
  EXPECT_TRUE(scores.contains("f1.changed"));
  EXPECT_TRUE(scores.contains("miou"));

  const Result predicted = tool("predict", small("a") + " --in " + scenes() + "/test/A " +
                                               scenes() + "/test/B --out " + dir("predictions"));
  ASSERT_EQ(predicted.status, 0) << predicted.output;
  std::size_t pictures = 0;
  for (const auto& entry : fs::directory_iterator(dir("predictions"))) {
    pictures += entry.path().extension() == ".png";
  }
  EXPECT_EQ(pictures, 4u);  // a label map and an overlay of each of two
}

// A model beside itself, and a window that covers the picture, change nothing.
TEST_F(EndToEnd, ServesInWindowsViewsAndEnsembles) {
  const Result trained = tool("train", small("served"));
  ASSERT_EQ(trained.status, 0) << trained.output;
  auto scores = [&](const std::string& more) {
    const std::string metrics = dir("served.json");
    const Result tested = tool("test", small("served", "--metrics-out " + metrics + " " + more));
    EXPECT_EQ(tested.status, 0) << tested.output;
    return read(metrics);
  };
  const std::string plain = scores("");
  EXPECT_EQ(scores("--ensemble " + kConfig + ":" + dir("served")), plain);
  EXPECT_EQ(scores("--set 'evaluate.inference={mode=\"slide\", crop_size=[64, 80]}'"), plain);
  EXPECT_EQ(scores("--tta --set 'evaluate.tta.views=[\"identity\"]'"), plain);

  const Result predicted = tool(
      "predict", small("served",
                       "--set 'evaluate.inference={mode=\"slide\", crop_size=[32, 32]}'"
                       " --set evaluate.tta.exchange_dates=true --tta --polygons --no-overlay"
                       " --probabilities --in " +
                           scenes() + "/test/A " + scenes() + "/test/B --out " + dir("served_out")));
  ASSERT_EQ(predicted.status, 0) << predicted.output;
  std::size_t polygons = 0, pictures = 0, probabilities = 0;
  for (const auto& entry : fs::directory_iterator(dir("served_out"))) {
    polygons += entry.path().extension() == ".geojson";
    pictures += entry.path().extension() == ".png";
    probabilities += entry.path().extension() == ".safetensors";
    if (entry.path().extension() == ".geojson") {
      EXPECT_EQ(nlohmann::json::parse(read(entry.path()))["type"], "FeatureCollection");
    }
  }
  EXPECT_EQ(polygons, 2u);
  EXPECT_EQ(pictures, 2u);
  EXPECT_EQ(probabilities, 2u);

  const Result missing = tool("test", small("served", "--ensemble nowhere.toml"));
  EXPECT_EQ(missing.status, 2) << missing.output;
  EXPECT_EQ(missing.output, "nowhere.toml: no such file\n");
  const Result other = tool("test", small("served", "--ensemble " STRATA_SOURCE_DIR
                                                    "/tests/configs/_base_/fine.toml:x"));
  EXPECT_EQ(other.status, 2);
  EXPECT_EQ(other.output, "--ensemble " STRATA_SOURCE_DIR
                          "/tests/configs/_base_/fine.toml: model: takes 1 image a sample, the "
                          "first model 2\n");
}

TEST_F(EndToEnd, AResumedRunEndsInTheSameBytes) {
  const Result whole = tool("train", small("whole", "--set data.train.workers=0"));
  ASSERT_EQ(whole.status, 0) << whole.output;
  const Result first = tool("train", small("parts", "--set train.stop_at=3"));
  ASSERT_EQ(first.status, 0) << first.output;
  const Result second = tool("train", small("parts", "--resume --set data.train.workers=2"));
  ASSERT_EQ(second.status, 0) << second.output;
  for (const char* file : {"step_4/model.safetensors", "step_4/optimizer.safetensors",
                           "scalars.jsonl"}) {
    ASSERT_TRUE(fs::exists(dir("whole") + "/" + file)) << file;
    EXPECT_EQ(read(dir("whole") + "/" + file), read(dir("parts") + "/" + file)) << file;
  }
}

TEST_F(EndToEnd, SwapsTheBackboneWithOneOverride) {
  for (const char* backbone : {"{type=\"HRNet\", variant=\"w18_small\"}",
                               "{type=\"EfficientNet\", variant=\"b0\"}"}) {
    const Result trained =
        tool("train", small("swap", "--set train.steps=1 --set 'model.backbone=" +
                                        std::string(backbone) + "'"));
    EXPECT_EQ(trained.status, 0) << backbone << "\n" << trained.output;
  }
}

TEST_F(EndToEnd, AMistakeIsFoundBeforeAnythingIsWritten) {
  const Result typo = tool("train", small("typo", "--set train.stpes=3"));
  EXPECT_EQ(typo.status, 2);
  EXPECT_EQ(typo.output,
            "--set train.stpes: train.stpes: unknown key; did you mean \"steps\"?\n");
  EXPECT_FALSE(fs::exists(dir("typo")));
}

TEST_F(EndToEnd, ADamagedPictureIsOneClearError) {
  const fs::path copy = root_ / "damaged";
  fs::copy(scenes(), copy, fs::copy_options::recursive);
  const fs::path victim = (*fs::directory_iterator(copy / "train" / "A")).path();
  fs::resize_file(victim, fs::file_size(victim) / 2);
  const Result trained =
      run("SCENES=" + copy.string() + " " + kTools + "train " +
          small("damaged_run", "--set data.train.batch_size=8 --set data.train.workers=1"));
  EXPECT_EQ(trained.status, 2) << trained.output;
  EXPECT_NE(trained.output.find(victim.filename().string() + ": "), std::string::npos)
      << trained.output;
  EXPECT_NE(trained.output.find("cut short"), std::string::npos) << trained.output;
  const Result checked =
      run("SCENES=" + copy.string() + " " + kTools + "validate --data " + small("x"));
  EXPECT_EQ(checked.status, 2) << checked.output;
}

TEST_F(EndToEnd, AWorkDirThatCannotBeMadeIsOneClearError) {
  std::ofstream(dir("a_file")) << "not a folder";
  const Result trained = tool("train", small("a_file/run"));
  EXPECT_EQ(trained.status, 2) << trained.output;
  EXPECT_NE(trained.output.find(dir("a_file/run")), std::string::npos) << trained.output;
}

TEST_F(EndToEnd, AFullDiskKeepsWhatWasThere) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount a small file system";
  fs::create_directories(dir("tiny_disk"));
  if (run("mount -t tmpfs -o size=20m none " + dir("tiny_disk")).status != 0) {
    GTEST_SKIP() << "cannot mount a small file system here";
  }
  // A checkpoint of this model with its optimizer takes 39 MB.
  const Result trained = tool("train", small("tiny_disk/run"));
  EXPECT_EQ(trained.status, 2) << trained.output;
  EXPECT_NE(trained.output.find("No space left on device"), std::string::npos) << trained.output;
  std::size_t checkpoints = 0;
  for (const auto& entry : fs::directory_iterator(dir("tiny_disk/run"))) {
    checkpoints += entry.path().filename().string().rfind("step_", 0) == 0;
  }
  EXPECT_EQ(checkpoints, 0u);
  run("umount " + dir("tiny_disk"));
}

// Real pairs, where they are at hand.
class RealPairs : public testing::TestWithParam<std::pair<std::string, std::string>> {};

TEST_P(RealPairs, TrainTestAndPredict) {
  const char* shared = std::getenv("STRATA_SHARED");
  const fs::path data = fs::path(shared != nullptr ? shared : STRATA_SOURCE_DIR "/../shared") / "data";
  const auto& [config, folder] = GetParam();
  if (!fs::exists(data / folder)) GTEST_SKIP() << (data / folder) << " is not here";
  std::string variable = config;
  std::transform(variable.begin(), variable.end(), variable.begin(), ::toupper);
  const fs::path out = fs::temp_directory_path() /
                       ("strata_real_" + config + "_" + std::to_string(::getpid()));
  const std::string common = std::string(STRATA_SOURCE_DIR) + "/configs/siamese/fpn_r18_" + config +
                             ".toml --set runtime.work_dir=" + (out / "run").string() +
                             " --set 'vars.crop=[64, 64]' --set data.train.batch_size=2"
                             " --set train.steps=2 --set evaluate.interval=2";
  const std::string environment = variable + "=" + (data / folder).string() + " ";
  const Result trained = run(environment + kTools + "train " + common);
  EXPECT_EQ(trained.status, 0) << trained.output;
  const Result tested = run(environment + kTools + "test " + common);
  EXPECT_EQ(tested.status, 0) << tested.output;
  const std::string test = (data / folder / "test").string();
  const Result predicted = run(environment + kTools + "predict " + common + " --in " + test + "/A " +
                               test + "/B --out " + (out / "predictions").string());
  EXPECT_EQ(predicted.status, 0) << predicted.output;
  fs::remove_all(out);
}

INSTANTIATE_TEST_SUITE_P(Samples, RealPairs,
                         testing::Values(std::pair{std::string("levir"), std::string("levir_samples")},
                                         std::pair{std::string("tunnel_crack"),
                                                   std::string("tunnel_crack")}),
                         [](const auto& pair) { return pair.param.first; });

}  // namespace
