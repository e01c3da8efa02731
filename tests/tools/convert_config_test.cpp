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
"randomness": {"seed": 7}, "load_from": "https://a.org/a.pth", "crop_size": [256, 128]
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
        "  optim_wrapper.accumulative_counts: train.steps counts optimizer steps: divide it by "
        "this",
        "  val_evaluator.1: no metric is named \"OddMetric\"",
        "  load_from: weights: bring https://a.org/a.pth here, then name the file in init.from",
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
                           "amp = \"fp16\"",
                           "keep_last = 3",
                           "best = \"miou\"",
                           "seed = 7",
                           "loss_name = \"ce\"",
                           "mode = \"slide\"",
                           "stride = [128, 128]"}) {
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

// A run by epochs with what goes along, and data sets of data sets.
const char* const kByEpochs = R"({
"model": {"type": "EncoderDecoder",
  "backbone": {"type": "ResNet", "depth": 18, "init_cfg": {"type": "Pretrained", "checkpoint": "r18.pth", "prefix": "backbone."}},
  "decode_head": {"type": "FCNHead", "channels": 16, "num_classes": 3, "norm_cfg": {"type": "BN"}}},
"train_dataloader": {"batch_size": 2, "num_workers": 2, "sampler": {"type": "DefaultSampler", "shuffle": false},
  "dataset": {"type": "MultiImageMixDataset",
    "dataset": {"type": "ConcatDataset", "datasets": [
      {"type": "RepeatDataset", "times": 4, "dataset": {"type": "BaseSegDataset", "data_root": "a",
        "data_prefix": {"img_path": "img", "seg_map_path": "ann"}, "metainfo": {"classes": ["x", "y", "z"]},
        "pipeline": [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"},
          {"type": "RandomChoiceResize", "scales": [320, 640], "resize_type": "ResizeShortestEdge", "max_size": 1280},
          {"type": "RandomResize", "scale": [200, 100], "ratio_range": [0.5, 2.0]}]}},
      {"type": "BaseSegDataset", "data_root": "b", "data_prefix": {"img_path": "img", "seg_map_path": "ann"}, "indices": 10,
        "pipeline": [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]}]},
    "pipeline": [{"type": "RandomMosaic", "prob": 0.3, "img_scale": [320, 160]}, {"type": "Pad", "size": [400, 200], "pad_val": {"img": 7, "seg": 255}},
      {"type": "RandomRotate", "prob": 0.5, "degree": 10, "center": [5, 9], "seg_pad_val": 255},
      {"type": "RandomCutOut", "prob": 0.5, "n_holes": 1, "cutout_shape": [8, 4]}, {"type": "PackSegInputs"}]}},
"val_dataloader": {"batch_size": 1, "sampler": {"type": "DefaultSampler", "shuffle": false}, "dataset": {"type": "BaseSegDataset",
  "data_root": "a", "data_prefix": {"img_path": "vi", "seg_map_path": "va"}, "pipeline": []}},
"optim_wrapper": {"type": "AmpOptimWrapper", "dtype": "bfloat16", "constructor": "LearningRateDecayOptimizerConstructor",
  "paramwise_cfg": {"num_layers": 12, "decay_rate": 0.9, "decay_type": "layer_wise"}, "clip_grad": {"type": "value", "clip_value": 0.5},
  "optimizer": {"type": "AdamW", "lr": 0.001}},
"auto_scale_lr": {"enable": true, "base_batch_size": 16},
"param_scheduler": [{"type": "LinearLR", "start_factor": 0.1, "by_epoch": false, "begin": 0, "end": 500},
  {"type": "CosineAnnealingLR", "by_epoch": true, "T_max": 20, "eta_min": 1e-6, "convert_to_iter_based": true}],
"train_cfg": {"by_epoch": true, "max_epochs": 20, "val_interval": 2},
"val_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
"default_hooks": {"visualization": {"type": "SegVisualizationHook", "draw": true, "interval": 50}},
"custom_hooks": [{"type": "EMAHook", "momentum": 0.001, "begin_iter": 100, "priority": "NORMAL"},
  {"type": "EarlyStoppingHook", "monitor": "mIoU", "patience": 3, "min_delta": 0.5, "strict": true},
  {"type": "EmptyCacheHook"}],
"tta_model": {"type": "SegTTAModel"},
"tta_pipeline": [{"type": "LoadImageFromFile"}, {"type": "TestTimeAug", "transforms": [
  [{"type": "Resize", "scale_factor": 0.5, "keep_ratio": true}, {"type": "Resize", "scale_factor": 1.0, "keep_ratio": true}],
  [{"type": "RandomFlip", "prob": 0.0}, {"type": "RandomFlip", "prob": 1.0, "direction": "vertical"}],
  [{"type": "LoadAnnotations"}], [{"type": "PackSegInputs"}]]}],
"load_from": "whole.pth"
})";

TEST(ConvertConfig, CarriesRunsByEpochsAndWhatGoesAlong) {
  const TempDir dir;
  write_file(dir / "dump.json", kByEpochs);
  const auto [status, text] =
      output_of("convert --config " + (dir / "dump.json") + " " + (dir / "out.toml"));
  ASSERT_EQ(status, 0) << text;
  const std::string toml = file_content(dir / "out.toml");
  for (const char* line : {"epochs = 20",
                           "interval_epochs = 2",
                           "amp = \"bf16\"",
                           "[train.clip_grad]\nmax_value = 0.5\n",
                           "layer_decay = 0.9",
                           "norm_decay_mult = 0.0",
                           "base_batch_size = 16",
                           "by_epoch = true",
                           "min_lr = 1e-06",
                           "start_factor = 0.1",
                           "shuffle = false",
                           "type = \"ConcatDataset\"",
                           "times = 4",
                           "type = \"SubsetDataset\"",
                           "first = 10",
                           "type = \"ResizeShortestEdge\"",
                           "size = [320, 640]",
                           "max_size = 1280",
                           "keep_ratio = false",
                           "size = [320, 160]",
                           "size = [200, 400]",
                           "pad_val = 7",
                           "center = [9, 5]",
                           "cutout_shape = [4, 8]",
                           "type = \"EMAHook\"",
                           "begin = 100",
                           "monitor = \"miou\"",
                           "min_delta = 0.005",
                           "type = \"VisualizationHook\"",
                           "views = [\"identity\", \"vertical\"]",
                           "scales = [0.5, 1.0]",
                           "from = \"r18.pth\"",
                           "prefix = \"backbone.\"",
                           "from = \"whole.pth\""}) {
    EXPECT_TRUE(has(toml, line)) << line << "\n" << toml;
  }
  for (const char* line :
       {"  param_scheduler.1.convert_to_iter_based: the rate changes with each epoch, not with "
        "each step",
        "  train_dataloader.dataset.dataset.datasets.1.pipeline: the transforms of a split are the "
        "same for all of its data sets",
        "  custom_hooks.2: EmptyCacheHook: memory is kept by the allocator"}) {
    EXPECT_TRUE(has(text, line)) << line << "\n" << text;
  }
  const auto validated = output_of("validate " + (dir / "out.toml"));
  EXPECT_EQ(validated.first, 0) << validated.second << toml;
}

TEST(ConvertConfig, ChainsSchedulesThatFollowEachOther) {
  const TempDir dir;
  auto dump = nlohmann::ordered_json::parse(kByEpochs);
  dump["param_scheduler"] = nlohmann::ordered_json::parse(R"([
    {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": 5},
    {"type": "MultiStepLR", "begin": 5, "end": 20, "milestones": [10, 15]}])");
  write_file(dir / "dump.json", dump.dump());
  auto [status, text] =
      output_of("convert --config " + (dir / "dump.json") + " " + (dir / "out.toml"));
  ASSERT_EQ(status, 0) << text;
  const std::string toml = file_content(dir / "out.toml");
  for (const char* line : {"type = \"SequentialLR\"", "milestones = [5]", "end_factor = 1.0",
                           "milestones = [5, 10]"}) {
    EXPECT_TRUE(has(toml, line)) << line << "\n" << toml;
  }
  EXPECT_EQ(output_of("validate " + (dir / "out.toml")).first, 0) << toml;
  // The first one does not come back to the optimizer's rate.
  dump["param_scheduler"][0]["end_factor"] = 0.5;
  write_file(dir / "dump.json", dump.dump());
  text = output_of("convert --config " + (dir / "dump.json") + " " + (dir / "out.toml")).second;
  EXPECT_TRUE(has(text,
                  "  param_scheduler.1: schedules follow each other, count the same, and all "
                  "but the last end at the optimizer's rate"))
      << text;
}

}  // namespace
