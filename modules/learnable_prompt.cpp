#include "modules/learnable_prompt.hpp"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "framework/base/error.hpp"
#include "framework/base/log.hpp"
#include "framework/nn/fold_cache.hpp"
#include "framework/nn/init.hpp"

namespace strata::modules {
namespace {

constexpr std::int64_t kContexts = 16;
constexpr std::size_t kMostKept = 4096;  // texts

std::vector<std::int64_t> without_marks(const std::vector<std::int64_t>& ids) {
  return {ids.begin() + 1, ids.end() - 1};
}

/// Where things are in the sequence: start mark, words and learned vectors in their order, end
/// mark. Rows of the table are `words` ids of the text, then `n` vectors, which begin at
/// `first_ctx`.
std::vector<std::int64_t> order(const std::string& position, std::int64_t first_id,
                                std::int64_t ids, std::int64_t first_ctx, std::int64_t n,
                                bool full_stop) {
  const std::int64_t words = ids - 2;
  // As in CoOp a full stop ends the whole text.
  const std::int64_t named = full_stop && position != "end" ? words - 1 : words;
  const std::int64_t before = position == "end" ? n : position == "middle" ? n / 2 : 0;
  std::vector<std::int64_t> rows;
  const auto run = [&](std::int64_t from, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) rows.push_back(from + i);
  };
  run(first_id, 1);
  run(first_ctx, before);
  run(first_id + 1, named);
  run(first_ctx + before, n - before);
  run(first_id + 1 + named, words - named + 1);
  return rows;
}

}  // namespace

void LearnablePrompt::check(const PromptOptions& options, const TextSpec& spec) {
  const auto count = static_cast<std::int64_t>(options.texts.size());
  for (const std::int64_t k : options.tagged) {
    if (k < 0 || k >= count) {
      throw OptionError("tagged", fmt::format("there are texts 0 to {}, got {}", count - 1, k));
    }
  }
  if (options.n_ctx.value_or(0) + 2 >= spec.length) {
    throw OptionError("n_ctx", fmt::format("leaves no room for words among the text encoder's {} "
                                           "positions, got {}",
                                           spec.length, *options.n_ctx));
  }
  if (options.ctx_init.empty()) return;
  if (options.init_std) {
    throw OptionError("init_std", fmt::format("says how vectors are drawn, got {} beside ctx_init; "
                                              "leave one of them out",
                                              *options.init_std));
  }
  if (options.n_ctx == 0) {
    throw OptionError("ctx_init", "there are no vectors to begin with it, got n_ctx = 0");
  }
}

LearnablePrompt::LearnablePrompt(const PromptOptions& options, std::shared_ptr<TextEncoder> encoder,
                                 const TextSpec& spec)
    : options_(options), spec_(spec), encoder_(std::move(encoder)) {
  check(options, spec);
  n_ctx_ = options.n_ctx.value_or(kContexts);
  if (!options.ctx_init.empty()) {
    n_ctx_ = static_cast<std::int64_t>(
        without_marks(encoder_->tokenize(options.ctx_init, spec.length)).size());
    if (options.n_ctx && *options.n_ctx != n_ctx_) {
      throw OptionError("n_ctx", fmt::format("ctx_init has {} tokens, got {}; leave it out", n_ctx_,
                                             *options.n_ctx));
    }
  }
  const auto full_stop = without_marks(encoder_->tokenize(".", spec.length));
  if (full_stop.size() == 1) full_stop_ = full_stop.front();
  for (std::size_t k = 0; k < options.texts.size(); ++k) {
    try {
      tokens(options.texts[k]);
    } catch (const DataError& error) {
      throw OptionError(
          "texts." + std::to_string(k),
          fmt::format("does not fit beside {} learned vectors: {}", n_ctx_, error.what()));
    }
  }
  if (n_ctx_ == 0) return;
  std::vector<std::int64_t> shape = {n_ctx_, spec.token_width};
  if (options.csc) shape.insert(shape.begin(), classes());
  ctx_ = register_parameter("ctx", at::empty(shape));
  if (options.init == "normal") {
    nn::normal_(ctx_, 0, options.init_std.value_or(0.02));
  } else {
    nn::truncated_normal_(ctx_, options.init_std.value_or(1.0));
  }
  fresh_version_ = ctx_._version();
  weights_loaded();
}

void LearnablePrompt::weights_loaded() {
  if (options_.ctx_init.empty() || ctx_._version() != fresh_version_) return;
  const at::NoGradGuard no_grad;
  const auto ids = without_marks(encoder_->tokenize(options_.ctx_init, spec_.length));
  ctx_.copy_(encoder_->embed(at::tensor(ids, at::kLong).to(ctx_.device())).expand_as(ctx_));
  fresh_version_ = ctx_._version();
}

at::Tensor LearnablePrompt::adapt_weight(const std::string& name, const at::Tensor& own,
                                         const at::Tensor& loaded) const {
  if (name != "ctx" || loaded.numel() != own.numel() || loaded.size(-1) != own.size(-1)) return {};
  return loaded.reshape(own.sizes());
}

const std::vector<std::int64_t>& LearnablePrompt::tokens(const std::string& text) {
  const auto known = tokens_.find(text);
  if (known != tokens_.end()) return known->second;
  if (tokens_.size() >= kMostKept) tokens_.clear();
  return tokens_[text] = encoder_->tokenize(text, spec_.length - n_ctx_);
}

std::string LearnablePrompt::text_of(std::size_t k, const std::vector<std::string>& tags) {
  const auto& tagged = options_.tagged;
  if (std::find(tagged.begin(), tagged.end(), static_cast<std::int64_t>(k)) == tagged.end()) {
    return options_.texts[k];
  }
  const std::size_t wanted = std::min(tags.size(), static_cast<std::size_t>(options_.max_tags));
  for (std::size_t count = wanted;; --count) {
    std::string text = options_.texts[k];
    for (std::size_t i = 0; i < count; ++i) text += ", " + tags[i];
    try {
      tokens(text);
    } catch (const DataError&) {
      if (count == 0) throw;
      continue;
    }
    if (count < wanted && !warned_) {
      warned_ = true;
      log::warning(
          "\"{}\" with {} tags is longer than the {} tokens there is room for: tags are left "
          "out, here the last {}",
          options_.texts[k], wanted, spec_.length - n_ctx_, wanted - count);
    }
    return text;
  }
}

at::Tensor LearnablePrompt::forward(const std::vector<std::vector<std::string>>& tags) {
  std::map<Key, std::int64_t> numbers;
  std::vector<Key> keys;
  std::vector<std::int64_t> rows;
  for (const auto& of_image : tags) {
    for (std::size_t k = 0; k < options_.texts.size(); ++k) {
      Key key{options_.csc ? static_cast<std::int64_t>(k) : 0, text_of(k, of_image)};
      const auto [place, fresh] = numbers.emplace(key, static_cast<std::int64_t>(keys.size()));
      if (fresh) keys.push_back(std::move(key));
      rows.push_back(place->second);
    }
  }
  const at::Tensor features = wants_gradient() ? encode(keys) : encode_kept(keys);
  return features.index_select(0, at::tensor(rows, at::kLong).to(features.device()))
      .view({static_cast<std::int64_t>(tags.size()), classes(), spec_.width});
}

bool LearnablePrompt::wants_gradient() const {
  if (!at::GradMode::is_enabled()) return false;
  const auto parameters = encoder_->parameters();
  return (ctx_.defined() && ctx_.requires_grad()) ||
         std::any_of(parameters.begin(), parameters.end(),
                     [](const at::Tensor& parameter) { return parameter.requires_grad(); });
}

at::Tensor LearnablePrompt::encode(const std::vector<Key>& keys) {
  std::int64_t most = 0;
  for (const auto& [k, text] : keys) {
    most = std::max(most, static_cast<std::int64_t>(tokens(text).size()));
  }
  // One table of all embeddings and all learned vectors; each text picks its rows. What is behind
  // an end mark does not count, so that texts are as long as the longest of them.
  const auto count = static_cast<std::int64_t>(keys.size());
  const std::int64_t length = most + n_ctx_;
  std::vector<std::int64_t> ids(static_cast<std::size_t>(count * most), 0), picks, ends;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto& [k, text] = keys[static_cast<std::size_t>(i)];
    const std::vector<std::int64_t>& own = tokens(text);
    std::copy(own.begin(), own.end(), ids.begin() + i * most);
    const bool full_stop = own.size() > 3 && own[own.size() - 2] == full_stop_;
    const auto rows = order(options_.position, i * most, static_cast<std::int64_t>(own.size()),
                            count * most + k * n_ctx_, n_ctx_, full_stop);
    ends.push_back(static_cast<std::int64_t>(rows.size()) - 1);
    picks.insert(picks.end(), rows.begin(), rows.end());
    picks.resize(static_cast<std::size_t>((i + 1) * length), rows.back());
  }
  const at::Device device = encoder_->parameters().front().device();
  at::Tensor table = encoder_->embed(at::tensor(ids, at::kLong).to(device));
  if (n_ctx_ > 0) table = at::cat({table, ctx_.reshape({-1, spec_.token_width})});
  const at::Tensor embeddings = table.index_select(0, at::tensor(picks, at::kLong).to(device));
  encoded_ += count;
  return encoder_->forward(embeddings.view({count, length, spec_.token_width}),
                           at::tensor(ends, at::kLong).to(device));
}

at::Tensor LearnablePrompt::encode_kept(const std::vector<Key>& keys) {
  const at::NoGradGuard no_grad;
  std::vector<std::uint64_t> now = state();
  if (now != kept_state_ || kept_.size() + keys.size() > kMostKept) {
    kept_.clear();
    kept_state_ = std::move(now);
  }
  std::vector<at::Tensor> features;
  for (const Key& key : keys) {
    auto place = kept_.find(key);
    // One by one: a feature must not depend on the batch in which its text came up first, or a run
    // that is resumed would differ from one that was not.
    if (place == kept_.end()) place = kept_.emplace(key, encode({key}).squeeze(0)).first;
    features.push_back(place->second);
  }
  return at::stack(features);
}

std::vector<std::uint64_t> LearnablePrompt::state() const {
  const at::Device device = encoder_->parameters().front().device();
  std::vector<std::uint64_t> state = {
      c10::InferenceMode::is_enabled(), at::autocast::is_autocast_enabled(device.type()),
      static_cast<std::uint64_t>(at::autocast::get_autocast_dtype(device.type()))};
  for (const std::uint64_t part : nn::state_of_weights(*encoder_)) state.push_back(part);
  if (ctx_.defined()) {
    state.push_back(reinterpret_cast<std::uint64_t>(ctx_.const_data_ptr()));
    state.push_back(ctx_.is_inference() ? 0 : ctx_._version());
  }
  return state;
}

}  // namespace strata::modules
