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

#include "tests/support/http_server.hpp"

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

  // parity: tensors from one file, strings from another.
  std::string header = R"({"image_0":{"dtype":"F32","shape":[1,3,64,64],"data_offsets":[0,49152]},)"
                       R"("image_1":{"dtype":"F32","shape":[1,3,64,64],"data_offsets":[49152,98304]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string size(8, '\0');
  size[0] = static_cast<char>(header.size() & 255), size[1] = static_cast<char>(header.size() >> 8);
  std::ofstream(dir("inputs.safetensors")) << size << header << std::string(98304, '\0');
  const auto parity = [&](const std::string& meta) {
    std::ofstream(dir("meta.json")) << meta;
    return tool("parity", small("a") + " --weights " + dir("a") + "/best --inputs " +
                              dir("inputs.safetensors") + " --outputs " + dir("outputs.safetensors") +
                              " --meta " + dir("meta.json"));
  };
  const Result compared = parity(R"({"tags": [[["airport", "lake"], []]]})");
  EXPECT_EQ(compared.status, 0) << compared.output;
  EXPECT_NE(read(dir("outputs.safetensors")).find("out.logits"), std::string::npos);
  for (const auto& [meta, message] :
       {std::pair{R"({"tags": [[["lake"]]]})", "tags.0: has 1 dates, the inputs have 2"},
        std::pair{R"({"tags": []})", "tags: has 0 samples, the inputs have 1"},
        std::pair{R"({"tags": [["lake"]]})",
                  "tags: expected a list of strings a date, in a list a sample"},
        std::pair{R"({"tag": []})", "unknown key \"tag\"; known is \"tags\""},
        std::pair{"[]", "expected an object, {\"tags\": [...]}"}}) {
    const Result wrong = parity(meta);
    EXPECT_EQ(wrong.status, 2);
    EXPECT_EQ(wrong.output, dir("meta.json") + ": " + message + "\n");
  }
}

// The small VLCD of configs/vlcd, with tags of one date; the other has none, which is said.
TEST_F(EndToEnd, VlcdReadsTagsTrainsTestsAndPredicts) {
  std::ofstream tags(scenes() + "/train/A_tags.json");
  tags << "[";
  for (int i = 0; i < 8; ++i) {
    tags << (i == 0 ? "" : ",") << "{\"image_path\": \"A/000" << i << ".png\", \"building\": \"0.7\"}";
  }
  tags << "]";
  tags.close();
  const std::string config =
      STRATA_SOURCE_DIR "/configs/vlcd/vlcd_tiny_scenes.toml --set runtime.work_dir=" + dir("vlcd") +
      " --set data.train.batch_size=2 --set train.steps=4 --set vars.last=3"
      " --set schedule.warmup.steps=1 --set schedule.begin=1 --set evaluate.interval=2"
      " --set train.log_interval=1 --set data.tags=_tags.json ";
  const Result trained = tool("train", config);
  ASSERT_EQ(trained.status, 0) << trained.output;
  EXPECT_NE(trained.output.find("/train/B_tags.json: no such file"), std::string::npos)
      << trained.output;
  EXPECT_EQ(trained.output.find("/train/A_tags.json: no such file"), std::string::npos);
  const Result tested = tool("test", config);
  ASSERT_EQ(tested.status, 0) << tested.output;
  EXPECT_NE(tested.output.find("\nchanged "), std::string::npos) << tested.output;
  const Result predicted = tool("predict", config + "--in " + scenes() + "/train/A " + scenes() +
                                               "/train/B --out " + dir("vlcd_out"));
  ASSERT_EQ(predicted.status, 0) << predicted.output;
  EXPECT_TRUE(fs::exists(dir("vlcd_out")));
  fs::remove(scenes() + "/train/A_tags.json");
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

// A run of many small steps, each with a checkpoint.
std::string busy(const std::string& work_dir) {
  return kConfig + " --set runtime.work_dir=" + work_dir +
         " --set 'vars.crop=[32, 32]' --set data.train.batch_size=2 --set train.steps=40"
         " --set evaluate.interval=20 --set train.log_interval=1 --set train.checkpoint_interval=1"
         " --set model.backbone.base_channels=4 --set model.neck.1.out_channels=8"
         " --set model.decode_head.channels=8 --set 'hooks.ema={type=\"EMAHook\"}'";
}

// Starts `train`, and once its scalars have grown by `lines` and some milliseconds have passed,
// sends it a signal; the exit code is the process's own (128 + 9 after SIGKILL).
Result train_until(const std::string& arguments, const std::string& work_dir, int lines,
                   int milliseconds, const std::string& signal) {
  const std::string count = "$(cat " + work_dir + "/scalars.jsonl 2>/dev/null | wc -l)";
  return run("(before=" + count + "; " + kTools + "train " + arguments +
             " & pid=$!; while kill -0 $pid 2>/dev/null && [ " + count +
             " -lt $((before + " + std::to_string(lines) + ")) ]; do sleep 0.02; done; sleep " +
             std::to_string(milliseconds / 1000.0) + "; kill -" + signal + " $pid; wait $pid)");
}

void expect_same_end(const std::string& one, const std::string& other) {
  for (const char* file : {"step_40/model.safetensors", "step_40/optimizer.safetensors",
                           "step_40/ema.safetensors", "step_40/state.json", "scalars.jsonl"}) {
    ASSERT_TRUE(fs::exists(one + "/" + file)) << file;
    EXPECT_TRUE(read(one + "/" + file) == read(other + "/" + file)) << file;
  }
}

TEST_F(EndToEnd, ATerminatedRunSavesEndsWith130AndGoesOn) {
  ::setenv("SCENES", scenes().c_str(), 1);
  const Result whole = run(kTools + "train " + busy(dir("busy")));
  ASSERT_EQ(whole.status, 0) << whole.output;
  for (const std::string signal : {"TERM", "INT"}) {
    const std::string work_dir = dir("signal_" + signal);
    const Result ended = train_until(busy(work_dir), work_dir, 5, 0, signal);
    EXPECT_EQ(ended.status, 130) << ended.output;
    EXPECT_NE(ended.output.find("go on with --resume"), std::string::npos) << ended.output;
    const Result rest = run(kTools + "train " + busy(work_dir) + " --resume");
    ASSERT_EQ(rest.status, 0) << rest.output;
    expect_same_end(dir("busy"), work_dir);
  }
}

// benchmarks/kill9.py does this two hundred times.
TEST_F(EndToEnd, KillsAtAnyMomentLeaveWholeCheckpoints) {
  ::setenv("SCENES", scenes().c_str(), 1);
  if (!fs::exists(dir("busy") + "/step_40")) run(kTools + "train " + busy(dir("busy")));
  const std::string work_dir = dir("killed");
  const std::array<int, 8> milliseconds{0, 3, 7, 11, 17, 23, 31, 43};
  for (std::size_t i = 0; i < milliseconds.size(); ++i) {
    const Result killed = train_until(busy(work_dir) + (i == 0 ? "" : " --resume"), work_dir, 3,
                                      milliseconds[i], "KILL");
    ASSERT_EQ(killed.status, 128 + 9) << killed.output;
    EXPECT_EQ(killed.output.find("not a whole checkpoint"), std::string::npos) << killed.output;
    std::size_t checkpoints = 0;
    for (const auto& entry : fs::directory_iterator(work_dir)) {
      if (entry.path().filename().string().rfind("step_", 0) != 0) continue;
      ++checkpoints;
      const auto manifest = nlohmann::json::parse(read(entry.path() / "manifest.json"));
      for (const auto& [name, sum] : manifest.at("files").items()) {
        EXPECT_EQ(fs::file_size(entry.path() / name), sum.at("size").get<std::uintmax_t>());
      }
    }
    EXPECT_GE(checkpoints, 1U);
  }
  const Result rest = run(kTools + "train " + busy(work_dir) + " --resume");
  ASSERT_EQ(rest.status, 0) << rest.output;
  expect_same_end(dir("busy"), work_dir);
  for (const auto& entry : fs::directory_iterator(work_dir)) {
    EXPECT_NE(entry.path().filename().string().rfind(".step_", 0), 0U) << entry.path();
  }
}

TEST_F(EndToEnd, SamplerAndCacheResumeInTheSameBytes) {
  const std::string drawn =
      " --set 'data.train.sampler={type=\"ClassBalancedSampler\"}' --set "
      "'data.train.transforms=[{type=\"RandomMosaic\", prob=0.5, size=[32,32]}, "
      "{type=\"ExchangeTime\"}, {type=\"GaussNoise\"}]'";
  const Result whole = tool("train", small("drawn", drawn + " --set data.train.workers=0"));
  ASSERT_EQ(whole.status, 0) << whole.output;
  EXPECT_NE(whole.output.find("class \"changed\""), std::string::npos) << "the pass is stated";
  const std::string kept = drawn + " --set 'data.cache=\"100 KiB\"'";
  const Result first = tool("train", small("kept", kept + " --set train.stop_at=1"));
  ASSERT_EQ(first.status, 0) << first.output;
  const Result second = tool("train", small("kept", kept + " --resume --set data.train.workers=2"));
  ASSERT_EQ(second.status, 0) << second.output;
  EXPECT_NE(second.output.find("data.cache: full"), std::string::npos) << second.output;
  for (const char* file : {"step_4/model.safetensors", "scalars.jsonl"}) {
    EXPECT_EQ(read(dir("drawn") + "/" + file), read(dir("kept") + "/" + file)) << file;
  }
}

TEST_F(EndToEnd, BrowseDrawsWhatTrainingSees) {
  const std::string sheet = dir("sheet.png");
  const Result drawn = tool("browse", small("b") + " --count 8 --cell 64 --out " + sheet);
  ASSERT_EQ(drawn.status, 0) << drawn.output;
  EXPECT_EQ(drawn.output, sheet + ": 8 samples of train, from draw 0 on\n");
  const std::string first = read(sheet);
  // IHDR: two dates and the overlay of 64 pixels with gaps, two samples side by side.
  auto word = [&](std::size_t at) {
    return static_cast<unsigned char>(first[at + 2]) * 256 + static_cast<unsigned char>(first[at + 3]);
  };
  EXPECT_EQ(word(16), 2 * (3 * 68 + 4) + 4);
  const Result later =
      tool("browse", small("b") + " --count 8 --cell 64 --first 8 --out " + sheet);
  ASSERT_EQ(later.status, 0) << later.output;
  EXPECT_NE(read(sheet), first);
  tool("browse", small("b") + " --count 8 --cell 64 --out " + sheet);
  EXPECT_EQ(read(sheet), first) << "the same draws again";
  const Result wrong = tool("browse", small("b") + " --split tran");
  EXPECT_EQ(wrong.status, 2);
  EXPECT_EQ(wrong.output,
            "--split: no such split, got \"tran\"; there are train, val, test\n");
}

TEST_F(EndToEnd, BrowseChecksEveryFileOfEverySplit) {
  const Result fine = tool("browse", small("b") + " --check");
  ASSERT_EQ(fine.status, 0) << fine.output;
  EXPECT_NE(fine.output.find("train: 8 samples\n  64 x 64, 3 channels of 8 bits: 8 samples\n"),
            std::string::npos)
      << fine.output;
  // Faults in two splits: all are named.
  const std::string copy = dir("faulty");
  fs::copy(scenes(), copy, fs::copy_options::recursive);
  fs::remove(copy + "/train/label/0003.png");
  std::ofstream(copy + "/val/B/0000.png", std::ios::trunc) << "no picture";
  std::ofstream(copy + "/val/label/0001.png", std::ios::trunc);
  const Result faulty =
      run("SCENES=" + copy + " " + kTools + "browse " + small("b") + " --check");
  EXPECT_EQ(faulty.status, 2);
  for (const char* part : {"no label for 1 of 8 files", "/val/B/0000.png: damaged",
                           "/val/label/0001.png: file is empty", "val: 2 of 2 samples are wrong",
                           "test: 2 samples"}) {
    EXPECT_NE(faulty.output.find(part), std::string::npos) << part << "\n" << faulty.output;
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

TEST_F(EndToEnd, WeightsByNameComeFromTheHubOnce) {
  ASSERT_EQ(tool("train", small("hub")).status, 0);
  const std::string weights = read(dir("hub") + "/best/model.safetensors");
  ASSERT_FALSE(weights.empty());
  strata::tests::HttpServer server([&](const strata::tests::HttpRequest& request) {
    const bool there = request.path == "/org/model/resolve/main/model.safetensors";
    return there ? strata::tests::file_reply(request, weights)
                 : strata::tests::HttpReply{404, {{"X-Error-Code", "EntryNotFound"}}};
  });
  const auto with_hub = [&](const std::string& name, const std::string& arguments,
                            const std::string& endpoint) {
    return run("SCENES=" + scenes() + " no_proxy=127.0.0.1 HF_ENDPOINT=" + endpoint +
               " HF_HUB_OFFLINE= HF_HUB_CACHE=" + dir("none") + " STRATA_CACHE=" + dir("cache") +
               " " + kTools + name + " " + arguments);
  };
  const std::string by_name = small("tuned", "--set init.from=hf:org/model");
  const Result valid = with_hub("validate", by_name, server.url());
  EXPECT_EQ(valid.status, 0) << valid.output;
  EXPECT_NE(valid.output.find("  hf:org/model: to be fetched from " + server.url() +
                              "/org/model/resolve/main/model.safetensors\n"),
            std::string::npos)
      << valid.output;
  EXPECT_TRUE(server.seen().empty());

  const Result offline = with_hub("train", by_name, "http://127.0.0.1:1");
  EXPECT_EQ(offline.status, 2) << offline.output;
  EXPECT_NE(offline.output.find("without a network fetch http://127.0.0.1:1/org/model/resolve/main/"
                                "model.safetensors elsewhere and put it at " +
                                dir("cache") + "/weights/hub/org/model/main/model.safetensors"),
            std::string::npos)
      << offline.output;

  const Result tuned = with_hub("train", by_name, server.url());
  EXPECT_EQ(tuned.status, 0) << tuned.output;
  const auto requests = server.seen().size();
  EXPECT_EQ(requests, 2u);
  const Result converted =
      with_hub("convert", "hf:org/model " + dir("back.pth"), "http://127.0.0.1:1");
  EXPECT_EQ(converted.status, 0) << converted.output;
  const Result tested = with_hub("test", small("tuned") + " hf:org/model", "http://127.0.0.1:1");
  EXPECT_EQ(tested.status, 0) << tested.output;
  EXPECT_EQ(server.seen().size(), requests);
  // A run goes on from its own weights: the hub's are not looked for.
  fs::remove_all(dir("cache"));
  const Result resumed = with_hub("train", by_name + " --resume", "http://127.0.0.1:1");
  EXPECT_EQ(resumed.status, 0) << resumed.output;
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
