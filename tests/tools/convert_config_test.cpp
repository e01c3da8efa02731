// Configs of mmseg 1.2.2, dumped by tests/parity/mmseg_configs.py, through convert, validate and
// inspect.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/temp_dir.hpp"

namespace {

using strata::tests::file_content;
using strata::tests::TempDir;
using strata::tests::write_file;

const std::string kTool = STRATA_BINARY_DIR "/tools/strata ";
const std::string kDumps = STRATA_SOURCE_DIR "/tests/data/mmseg_configs/";

std::pair<int, std::string> output_of(const std::string& arguments) {
  std::string text;
  FILE* pipe = ::popen((kTool + arguments + " 2>&1").c_str(), "r");
  std::array<char, 4096> part;
  for (std::size_t size = 0; (size = std::fread(part.data(), 1, part.size(), pipe)) > 0;) {
    text.append(part.data(), size);
  }
  const int status = ::pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class MmsegConfig : public testing::TestWithParam<std::string> {};

TEST_P(MmsegConfig, GivesAModelOfTheSameSize) {
  const TempDir dir;
  const std::string toml = dir / "out.toml";
  const auto [status, text] =
      output_of("convert --config " + kDumps + GetParam() + ".json " + toml);
  ASSERT_EQ(status, 0) << text;
  EXPECT_TRUE(has(text, "  model.pretrained: weights: bring open-mmlab://")) << text;

  const auto validated = output_of("validate " + toml);
  EXPECT_EQ(validated.first, 0) << validated.second << file_content(toml);

  const auto counts = nlohmann::json::parse(file_content(kDumps + "counts.json"));
  std::string count = counts.at(GetParam()).dump();
  for (int at = static_cast<int>(count.size()) - 3; at > 0; at -= 3) count.insert(at, ",");
  const auto inspected = output_of("inspect " + toml + " --size 64 64 --depth 0");
  ASSERT_EQ(inspected.first, 0) << inspected.second;
  EXPECT_TRUE(has(inspected.second, " " + count + "\n")) << count << "\n" << inspected.second;
}

INSTANTIATE_TEST_SUITE_P(All, MmsegConfig,
                         testing::Values("fcn_hr18_cityscapes", "pspnet_r50-d8_cityscapes",
                                         "upernet_r50_ade20k", "fpn_r50_cityscapes"),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

TEST(ConvertConfig, CarriesTheRunOver) {
  const TempDir dir;
  const auto [status, text] =
      output_of("convert --config " + kDumps + "upernet_r50_ade20k.json " + (dir / "out.toml"));
  ASSERT_EQ(status, 0) << text;
  const std::string toml = file_content(dir / "out.toml");
  for (const char* line :
       {"type = \"UPerHead\"", "steps = 80000", "interval = 8000", "power = 0.9", "min_lr = 1e-04",
        "lr = 0.01", "momentum = 0.9", "reduce_zero_label = true",
        "data_root = \"data/ade/ADEChallengeData2016\"",
        "label_dir = \"${vars.data_root}/annotations/training\"", "average = \"all\"",
        "checkpoint_interval = 8000", "log_interval = 50"}) {
    EXPECT_TRUE(has(toml, line)) << line << "\n" << toml;
  }
  // Width and height change places; a crop is written as here already.
  EXPECT_TRUE(has(toml, "size = [512, 2048]")) << toml;
  EXPECT_TRUE(has(text, "\nnot needed here\n")) << text;
}

const char* const kSmall = R"({
"model": {"type": "SiamEncoderDecoder",
  "data_preprocessor": {"type": "DualInputSegDataPreProcessor", "mean": [1, 2, 3, 1, 2, 3], "std": [4, 5, 6, 4, 5, 6],
    "bgr_to_rgb": true, "size_divisor": 32, "pad_val": 0},
  "backbone": {"type": "ResNet", "depth": 18, "frozen_stages": 1, "norm_cfg": {"type": "GN", "num_groups": 8}, "dcn": 3},
  "neck": {"type": "FeatureFusionNeck", "policy": "abs_diff"},
  "decode_head": {"type": "FCNHead", "channels": 16, "num_classes": 2, "dropout_ratio": -1, "ignore_index": 254,
    "loss_decode": [{"type": "CrossEntropyLoss", "avg_non_ignore": true, "loss_name": "loss_ce"},
                    {"type": "HausdorffLoss"}]},
  "auxiliary_head": {"type": "SpecialHead"},
  "test_cfg": {"mode": "slide", "crop_size": [256, 256], "stride": [128, 128]}},
"train_dataloader": {"batch_size": 8, "num_workers": 4, "dataset": {"type": "LEVIR_CD_Dataset", "data_root": "data/levir/",
  "data_prefix": {"seg_map_path": "train/label", "img_path_from": "train/A", "img_path_to": "train/B"},
  "metainfo": {"classes": ["unchanged", "changed"], "palette": [[0, 0, 0], [255, 255, 255]]},
  "pipeline": [{"type": "MultiImgLoadImageFromFile"}, {"type": "MultiImgLoadAnnotations"},
    {"type": "MultiImgRandomCrop", "crop_size": [256, 128]}, {"type": "MultiImgRandomFlip", "prob": 0.5, "direction": "vertical"},
    {"type": "MultiImgWarp", "strength": 2}, {"type": "MultiImgPackSegInputs"}]}},
"optim_wrapper": {"type": "AmpOptimWrapper", "accumulative_counts": 2, "clip_grad": {"max_norm": 1.0},
  "optimizer": {"type": "AdamW", "lr": 0.001, "betas": [0.9, 0.99], "weight_decay": 0.05},
  "paramwise_cfg": {"norm_decay_mult": 0.0, "custom_keys": {"head": {"lr_mult": 10.0}}}},
"param_scheduler": [{"type": "LinearLR", "start_factor": 1e-6, "by_epoch": false, "begin": 0, "end": 1000},
  {"type": "MultiStepLR", "by_epoch": false, "begin": 1000, "milestones": [3000, 4000], "gamma": 0.5}],
"train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 5000, "val_interval": 500},
"val_evaluator": [{"type": "mmseg.IoUMetric", "iou_metrics": ["mFscore"]}, {"type": "OddMetric"}],
"default_hooks": {"checkpoint": {"type": "CheckpointHook", "by_epoch": false, "interval": 500, "save_best": "mIoU", "max_keep_ckpts": 3}},
"randomness": {"seed": 7}, "load_from": "a.pth", "crop_size": [256, 128]
})";

TEST(ConvertConfig, ListsWhatItCannotCarryOverAndWhy) {
  const TempDir dir;
  write_file(dir / "dump.json", kSmall);
  const auto [status, text] =
      output_of("convert --config " + (dir / "dump.json") + " " + (dir / "out.toml"));
  ASSERT_EQ(status, 0) << text;
  for (const char* line :
       {"  model.backbone.dcn: no such key here",
        "  model.decode_head.loss_decode.1: no loss is named \"HausdorffLoss\"",
        "  model.auxiliary_head: no head is named \"SpecialHead\"",
        "  train_dataloader.dataset.pipeline.4: no transform is named \"Warp\"",
        "  optim_wrapper.type: AmpOptimWrapper: numbers are float32 here",
        "  optim_wrapper.accumulative_counts: train.steps counts optimizer steps: divide it by "
        "this",
        "  val_evaluator.1: no metric is named \"OddMetric\"",
        "  load_from: weights: bring a.pth here with `convert`, then name the file in init.from",
        "  crop_size: a variable of the Python file"}) {
    EXPECT_TRUE(has(text, line)) << line << "\n" << text;
  }
  const std::string toml = file_content(dir / "out.toml");
  EXPECT_TRUE(has(toml, "# not carried over: model.backbone.dcn: no such key here\n"));
  for (const char* line : {"type = \"SiameseEncoderDecoder\"",
                           "mean = [1, 2, 3]",
                           "size_divisor = 32",
                           "groups = 8",
                           "freeze = [\"backbone.conv1\", \"backbone.gn1\", \"backbone.layer1\"]",
                           "dropout = 0.0",
                           "ignore_index = 254",
                           "role = \"change\"",
                           "image_dirs = [\"train/A\", \"train/B\"]",
                           "size = [256, 128]",
                           "cat_max_ratio = 1.0",
                           "direction = \"vertical\"",
                           "accumulate = 2",
                           "clip_grad = 1.0",
                           "norm_decay_mult = 0.0",
                           "match = \"head\"",
                           "paramwise_mode = \"longest\"",
                           "milestones = [2000, 3000]",
                           "steps = 1000",
                           "keep_last = 3",
                           "best = \"miou\"",
                           "seed = 7",
                           "loss_name = \"ce\"", "mode = \"slide\"", "stride = [128, 128]"}) {
    EXPECT_TRUE(has(toml, line)) << line << "\n" << toml;
  }
  EXPECT_FALSE(has(toml, "average = \"all\""));
  const auto validated = output_of("validate " + (dir / "out.toml"));
  EXPECT_EQ(validated.first, 0) << validated.second << toml;
}

TEST(ConvertConfig, RefusesWhatIsNoDump) {
  const TempDir dir;
  for (const auto& [content, message] :
       {std::pair{"model = dict()", "is no dumped config"},
        std::pair{"{\"model\": 3}", "is no dumped config"},
        std::pair{"{\"model\": {\"type\": 3}}", "a value is of another type"},
        std::pair{"{\"model\": {\"type\": \"EncoderDecoder\", \"backbone\": []}}",
                  "a value is of another type"},
        std::pair{"{\"model\": {\"type\": \"EncodrDecoder\"}}",
                  "did you mean \"EncoderDecoder\"?"}}) {
    write_file(dir / "dump.json", content);
    const auto [status, text] =
        output_of("convert --config " + (dir / "dump.json") + " " + (dir / "out.toml"));
    EXPECT_EQ(status, 2) << content << "\n" << text;
    EXPECT_TRUE(has(text, message)) << content << "\n" << text;
    EXPECT_FALSE(std::filesystem::exists(dir.path() + "/out.toml"));
  }
}

}  // namespace
