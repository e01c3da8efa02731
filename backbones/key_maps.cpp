#include "backbones/key_maps.hpp"

#include <cmath>
#include <stdexcept>

namespace strata::backbones {
namespace {

using Rules = std::vector<io::KeyRule>;

Rules dropping(std::initializer_list<const char*> prefixes) {
  Rules rules;
  for (const char* prefix : prefixes) rules.push_back({prefix, "", true});
  return rules;
}

/// timm numbers blocks within their stage, the native layout through all stages.
Rules timm_efficientnet(double depth) {
  Rules rules = dropping({"classifier", "conv_head", "bn2"});
  rules.push_back({"conv_stem", "_conv_stem"});
  rules.push_back({"bn1", "_bn0"});
  int number = 0;
  const int repeats[] = {1, 2, 2, 3, 3, 4, 1};
  for (int stage = 0; stage < 7; ++stage) {
    const int blocks = static_cast<int>(std::ceil(depth * repeats[stage]));
    for (int k = 0; k < blocks; ++k, ++number) {
      const std::string theirs = "blocks." + std::to_string(stage) + "." + std::to_string(k) + ".";
      const std::string ours = "_blocks." + std::to_string(number) + ".";
      const auto add = [&](const char* from, const char* to) {
        rules.push_back({theirs + from, ours + to});
      };
      add("se.conv_reduce", "_se_reduce");
      add("se.conv_expand", "_se_expand");
      add("conv_dw", "_depthwise_conv");
      if (stage == 0) {  // these do not expand
        add("bn1", "_bn1");
        add("conv_pw", "_project_conv");
        add("bn2", "_bn2");
      } else {
        add("conv_pw", "_expand_conv");
        add("bn1", "_bn0");
        add("bn2", "_bn1");
        add("conv_pwl", "_project_conv");
        add("bn3", "_bn2");
      }
    }
  }
  return rules;
}

/// torchvision numbers the parts of a block, and keeps stem and head among its stages.
Rules torchvision_efficientnet(double depth) {
  Rules rules = dropping({"classifier", "features.8"});
  rules.push_back({"features.0.0", "_conv_stem"});
  rules.push_back({"features.0.1", "_bn0"});
  int number = 0;
  const int repeats[] = {1, 2, 2, 3, 3, 4, 1};
  for (int stage = 0; stage < 7; ++stage) {
    const int blocks = static_cast<int>(std::ceil(depth * repeats[stage]));
    for (int k = 0; k < blocks; ++k, ++number) {
      const std::string theirs =
          "features." + std::to_string(stage + 1) + "." + std::to_string(k) + ".block.";
      const std::string ours = "_blocks." + std::to_string(number) + ".";
      int part = 0;
      const auto add_pair = [&](const char* conv, const char* norm) {
        const std::string at = theirs + std::to_string(part++);
        rules.push_back({at + ".0", ours + conv});
        rules.push_back({at + ".1", ours + norm});
      };
      if (stage > 0) add_pair("_expand_conv", "_bn0");
      add_pair("_depthwise_conv", "_bn1");
      const std::string squeeze = theirs + std::to_string(part++);
      rules.push_back({squeeze + ".fc1", ours + "_se_reduce"});
      rules.push_back({squeeze + ".fc2", ours + "_se_expand"});
      add_pair("_project_conv", "_bn2");
    }
  }
  return rules;
}

/// Detectron2's ResNet, also of Mask2Former and other models built on it: stages count from 2, and
/// each convolution holds its norm.
Rules detectron2_resnet() {
  Rules rules = {{"stem.conv1.norm", "bn1"},
                 {"stem.conv1", "conv1"},
                 {"stem.fc", "", true},
                 {"linear", "", true}};
  for (int stage = 1; stage <= 4; ++stage) {
    const std::string theirs = "res" + std::to_string(stage + 1) + ".*.";
    const std::string ours = "layer" + std::to_string(stage) + ".*.";
    rules.push_back({theirs + "shortcut.norm.**", ours + "downsample.1.**"});
    rules.push_back({theirs + "shortcut.**", ours + "downsample.0.**"});
    for (const char* number : {"1", "2", "3"}) {
      rules.push_back({theirs + "conv" + number + ".norm.**", ours + "bn" + number + ".**"});
      rules.push_back({theirs + "conv" + number + ".**", ours + "conv" + number + ".**"});
    }
  }
  return rules;
}

/// Transformers' ResNet: stages and convolutions count from 0, and norms stand beside convolutions.
Rules transformers_resnet() {
  Rules rules = {{"embedder.embedder.convolution", "conv1"},
                 {"embedder.embedder.normalization", "bn1"},
                 {"classifier", "", true}};
  for (int stage = 0; stage < 4; ++stage) {
    const std::string theirs = "encoder.stages." + std::to_string(stage) + ".layers.*.";
    const std::string ours = "layer" + std::to_string(stage + 1) + ".*.";
    const auto add = [&](const std::string& from, const std::string& conv,
                         const std::string& norm) {
      rules.push_back({theirs + from + ".convolution.**", ours + conv + ".**"});
      rules.push_back({theirs + from + ".normalization.**", ours + norm + ".**"});
    };
    add("shortcut", "downsample.0", "downsample.1");
    for (int i = 0; i < 3; ++i) {
      const std::string number = std::to_string(i + 1);
      add("layer." + std::to_string(i), "conv" + number, "bn" + number);
    }
  }
  return rules;
}

/// Transformers' EfficientNet, of any size: blocks count through all stages, as ours.
Rules transformers_efficientnet() {
  Rules rules = dropping({"classifier", "encoder.top_conv", "encoder.top_bn"});
  rules.push_back({"embeddings.convolution", "_conv_stem"});
  rules.push_back({"embeddings.batchnorm", "_bn0"});
  const std::pair<const char*, const char*> parts[] = {
      {"expansion.expand_conv", "_expand_conv"},
      {"expansion.expand_bn", "_bn0"},
      {"depthwise_conv.depthwise_conv", "_depthwise_conv"},
      {"depthwise_conv.depthwise_norm", "_bn1"},
      {"squeeze_excite.reduce", "_se_reduce"},
      {"squeeze_excite.expand", "_se_expand"},
      {"projection.project_conv", "_project_conv"},
      {"projection.project_bn", "_bn2"}};
  for (const auto& [theirs, ours] : parts) {
    rules.push_back({std::string("encoder.blocks.*.") + theirs + ".**",
                     std::string("_blocks.*.") + ours + ".**"});
  }
  return rules;
}

/// OpenAI's archives of CLIP, and open_clip's: one tower of them.
Rules openai_clip(bool visual) {
  Rules rules = dropping({"logit_scale", "input_resolution", "context_length", "vocab_size"});
  if (visual) {
    for (const char* name : {"transformer", "token_embedding", "positional_embedding", "ln_final",
                             "text_projection"}) {
      rules.push_back({name, "", true});
    }
    rules.push_back({"visual.**", "**"});
  } else {
    rules.push_back({"visual", "", true});
  }
  return rules;
}

at::Tensor transposed(const at::Tensor& matrix) { return matrix.t(); }

/// Transformers' CLIPModel: one tower of it. Queries, keys and values are projected one by one.
Rules transformers_clip(bool visual) {
  const std::string own = visual ? "vision_model." : "text_model.";
  Rules rules = dropping({"logit_scale"});
  const auto add = [&](const std::string& theirs, const std::string& ours) {
    rules.push_back({own + theirs, ours});
  };
  rules.push_back({own + "embeddings.position_ids", "", true});
  if (visual) {
    rules.push_back({"text_model", "", true});
    rules.push_back({"text_projection", "", true});
    rules.push_back({"visual_projection.weight", "proj", false, &transposed, &transposed});
    add("embeddings.class_embedding", "class_embedding");
    add("embeddings.patch_embedding", "conv1");
    add("embeddings.position_embedding.weight", "positional_embedding");
    add("pre_layrnorm", "ln_pre");
    add("post_layernorm", "ln_post");
  } else {
    rules.push_back({"vision_model", "", true});
    rules.push_back({"visual_projection", "", true});
    rules.push_back({"text_projection.weight", "text_projection", false, &transposed, &transposed});
    add("embeddings.token_embedding", "token_embedding");
    add("embeddings.position_embedding.weight", "positional_embedding");
    add("final_layer_norm", "ln_final");
  }
  const std::string theirs = "encoder.layers.*.", ours = "transformer.resblocks.*.";
  for (const char* end : {"weight", "bias"}) {
    int place = 0;
    for (const char* letter : {"q", "k", "v"}) {
      rules.push_back({own + theirs + "self_attn." + letter + "_proj." + end,
                       ours + "attn.in_proj_" + end, false, nullptr, nullptr, ++place});
    }
  }
  const std::pair<const char*, const char*> parts[] = {{"self_attn.out_proj", "attn.out_proj"},
                                                       {"layer_norm1", "ln_1"},
                                                       {"layer_norm2", "ln_2"},
                                                       {"mlp.fc1", "mlp.c_fc"},
                                                       {"mlp.fc2", "mlp.c_proj"}};
  for (const auto& [from, to] : parts) add(theirs + from + ".**", ours + to + ".**");
  return rules;
}

Rules timm_resnetd() {
  Rules rules = dropping({"fc"});
  for (const char* layer : {"0", "1", "3", "4", "6"}) {
    rules.push_back({std::string("conv1.") + layer, std::string("stem.") + layer});
  }
  rules.push_back({"bn1", "stem.7"});
  return rules;
}

/// [..., 4 C] of patch merging: from four neighbours (0,0), (1,0), (0,1), (1,1) with C channels
/// each to C channels with their neighbours (0,0), (0,1), (1,0), (1,1) each; and back.
at::Tensor by_channel(const at::Tensor& by_neighbour) {
  return by_neighbour.unflatten(-1, {2, 2, -1}).transpose(-3, -2).movedim(-1, -3).flatten(-3);
}
at::Tensor by_neighbour(const at::Tensor& by_channel) {
  return by_channel.unflatten(-1, {-1, 2, 2}).movedim(-3, -1).transpose(-3, -2).flatten(-3);
}

/// timm's Swin, and its authors', which counts the way down to a stage with the stage before.
Rules swin(bool timm) {
  Rules rules = dropping({"head", "norm"});
  rules.push_back({"layers.*.blocks.*.attn_mask", "", true});
  rules.push_back({"patch_embed.proj", "patch_embed.projection"});
  const std::pair<const char*, const char*> parts[] = {{"norm1", "norm1"},
                                                       {"attn", "attn.w_msa"},
                                                       {"norm2", "norm2"},
                                                       {"mlp.fc1", "ffn.layers.0.0"},
                                                       {"mlp.fc2", "ffn.layers.1"}};
  for (const auto& [theirs, ours] : parts) {
    rules.push_back({std::string("layers.*.blocks.*.") + theirs + ".**",
                     std::string("stages.*.blocks.*.") + ours + ".**"});
  }
  for (int stage = 0; stage < 3; ++stage) {
    const std::string theirs = "layers." + std::to_string(stage + (timm ? 1 : 0)) + ".downsample";
    const std::string ours = "stages." + std::to_string(stage) + ".downsample";
    rules.push_back({theirs, ours, false, &by_channel, &by_neighbour});
  }
  return rules;
}

Rules timm_vit() { return dropping({"head", "head_dist", "dist_token", "pre_logits", "fc_norm"}); }

/// mmseg's, which is built of mmcv's attention and feed-forward network.
Rules mmseg_vit() {
  return {{"patch_embed.projection", "patch_embed.proj"},
          {"ln1", "norm"},
          {"layers.*.ln1.**", "blocks.*.norm1.**"},
          {"layers.*.attn.attn.in_proj_weight", "blocks.*.attn.qkv.weight"},
          {"layers.*.attn.attn.in_proj_bias", "blocks.*.attn.qkv.bias"},
          {"layers.*.attn.attn.out_proj.**", "blocks.*.attn.proj.**"},
          {"layers.*.ln2.**", "blocks.*.norm2.**"},
          {"layers.*.ffn.layers.0.0.**", "blocks.*.mlp.fc1.**"},
          {"layers.*.ffn.layers.1.**", "blocks.*.mlp.fc2.**"}};
}

/// Whole models of VLCD's reproduction. Of the transformer at the side its files hold every tensor
/// twice, once under the names that are dropped here.
Rules vlcd() {
  Rules rules = dropping({"learnable_prompt.class_token_embeddings", "rs_backbone.blocks",
                          "rs_backbone.patch_embed", "rs_backbone.pos_embed",
                          "rs_backbone.cls_token", "rs_backbone.norm"});
  rules.push_back({"rs_backbone.backbone", "backbone.rs_backbone"});
  rules.push_back({"rs_backbone", "backbone.rs_backbone"});
  rules.push_back({"bridging_modules", "backbone.bridging_modules"});
  rules.push_back({"backbone", "backbone.clip"});
  rules.push_back({"cfc", "neck.0"});
  rules.push_back({"neck", "neck.1"});
  return rules;
}

/// Whole models of ChangeCLIP's authors.
Rules changeclip() {
  return {{"contexts2", "learnable_prompt.ctx"},
          {"minus_conv", "neck.minus_conv"},
          {"channel_att", "neck.channel_att"},
          {"neck", "neck.fpn"}};
}

/// Whole models of ChangeMask: torchange's own, and its port in the style of Hugging Face, which
/// has longer names for the classifiers.
Rules changemask(const char* semantic, const char* change) {
  return {{"encoder", "backbone"},
          {"temporal_transformer", "neck"},
          {"semantic_decoder", "decode_head.0.neck"},
          {semantic, "decode_head.0.conv_seg"},
          {"change_decoder", "decode_head.1.neck"},
          {change, "decode_head.1.conv_seg"}};
}

}  // namespace

std::vector<std::string> model_layouts() {
  return {"vlcd", "changeclip", "changemask", "torchange.changemask"};
}

std::vector<std::string> key_layouts() {
  std::vector<std::string> names = {"torchvision.resnet",
                                    "timm.resnet",
                                    "timm.resnetd",
                                    "timm.hrnet",
                                    "detectron2.resnet",
                                    "lukemelas.efficientnet",
                                    "lukemelas.efficientnet_head",
                                    "transformers.resnet",
                                    "transformers.efficientnet",
                                    "timm.vit",
                                    "mmseg.vit",
                                    "timm.swin",
                                    "microsoft.swin",
                                    "openai.clip_visual",
                                    "openai.clip_text",
                                    "transformers.clip_visual",
                                    "transformers.clip_text"};
  for (const std::string& whole : model_layouts()) names.push_back(whole);
  for (const char* library : {"timm", "torchvision"}) {
    for (const char number : {'0', '1', '2', '3', '4', '5', '6', '7'}) {
      names.push_back(std::string(library) + ".efficientnet_b" + number);
    }
  }
  return names;
}

std::vector<io::KeyRule> key_rules(const std::string& layout) {
  if (layout == "vlcd") return vlcd();
  if (layout == "changeclip") return changeclip();
  if (layout == "changemask") return changemask("semantic_head", "change_head");
  if (layout == "torchange.changemask") return changemask("s", "c");
  if (layout == "torchvision.resnet" || layout == "timm.resnet") return dropping({"fc"});
  if (layout == "timm.resnetd") return timm_resnetd();
  if (layout == "timm.hrnet") {
    return dropping({"incre_modules", "downsamp_modules", "final_layer", "classifier"});
  }
  if (layout == "lukemelas.efficientnet") return dropping({"_fc", "_conv_head", "_bn1"});
  if (layout == "lukemelas.efficientnet_head") return dropping({"_fc"});
  if (layout == "detectron2.resnet") return detectron2_resnet();
  if (layout == "transformers.resnet") return transformers_resnet();
  if (layout == "transformers.efficientnet") return transformers_efficientnet();
  if (layout == "timm.vit") return timm_vit();
  if (layout == "mmseg.vit") return mmseg_vit();
  if (layout == "timm.swin") return swin(true);
  if (layout == "microsoft.swin") return swin(false);
  if (layout == "openai.clip_visual") return openai_clip(true);
  if (layout == "openai.clip_text") return openai_clip(false);
  if (layout == "transformers.clip_visual") return transformers_clip(true);
  if (layout == "transformers.clip_text") return transformers_clip(false);
  const double depths[] = {1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1};
  for (int number = 0; number < 8; ++number) {
    const std::string variant = ".efficientnet_b" + std::to_string(number);
    if (layout == "timm" + variant) return timm_efficientnet(depths[number]);
    if (layout == "torchvision" + variant) return torchvision_efficientnet(depths[number]);
  }
  throw std::out_of_range("no layout of backbone weights named " + layout);
}

}  // namespace strata::backbones
