// PNG through libpng: palette indices stay indices, and a file that is cut short is an error.
#include <ATen/ops/empty.h>
#include <png.h>

#include <algorithm>
#include <cerrno>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "framework/base/error.hpp"
#include "framework/io/codecs.hpp"

namespace strata::io::detail {

// libpng reports errors by longjmp, which skips destructors: the functions that may be left so
// hold nothing but plain values. The message is kept here.
struct PngState {
  const std::uint8_t* data = nullptr;
  std::size_t left = 0;
  bool short_of_data = false;
  char message[120] = "";
};

namespace {

// Level 4 is within a few per cent of the size of level 6 in half the time.
constexpr int kLevel = 4;

void on_error(png_structp png, png_const_charp message) {
  auto* state = static_cast<PngState*>(png_get_error_ptr(png));
  std::strncpy(state->message, message, sizeof(state->message) - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}  // odd metadata; pixels are not affected

void on_read(png_structp png, png_bytep out, std::size_t count) {
  auto* state = static_cast<PngState*>(png_get_io_ptr(png));
  if (count > state->left) {
    state->short_of_data = true;
    png_error(png, "end of file");
  }
  std::memcpy(out, state->data, count);
  state->data += count;
  state->left -= count;
}

void on_write(png_structp png, png_bytep data, std::size_t count) {
  static_cast<std::string*>(png_get_io_ptr(png))
      ->append(reinterpret_cast<const char*>(data), count);
}

void on_flush(png_structp) {}

struct PngReader {
  explicit PngReader(const Bytes& bytes) {
    state.data = bytes.data;
    state.left = bytes.size;
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &state, on_error, on_warning);
    if (png != nullptr) info = png_create_info_struct(png);
    if (info == nullptr) {
      png_destroy_read_struct(&png, nullptr, nullptr);
      throw std::runtime_error("libpng cannot be started");
    }
    png_set_read_fn(png, &state, on_read);
  }
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  // Reads the header and sets how pixels come out; false on an error.
  bool start(Decode decode) {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    png_read_info(png, info);
    packed_row = static_cast<std::int64_t>(png_get_rowbytes(png, info));
    const int colour = png_get_color_type(png, info);
    const int depth = png_get_bit_depth(png, info);
    if (decode == Decode::label) {
      if (depth < 8) png_set_packing(png);  // one index a byte, values as stored
      if ((colour & PNG_COLOR_MASK_ALPHA) != 0) png_set_strip_alpha(png);
    } else {
      if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
      if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
      if (decode == Decode::as_stored && png_get_valid(png, info, PNG_INFO_tRNS) != 0) {
        png_set_tRNS_to_alpha(png);
      }
      if (decode == Decode::rgb) {
        if ((colour & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png);
        png_set_strip_alpha(png);  // of palettes too, which have it beside them
      }
    }
    if (depth == 16) png_set_swap(png);  // to the byte order of this machine
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    height = png_get_image_height(png, info);
    width = png_get_image_width(png, info);
    channels = png_get_channels(png, info);
    bits = png_get_bit_depth(png, info);
    return true;
  }

  bool pixels(png_bytep* rows) {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    png_read_image(png, rows);
    png_read_end(png, nullptr);
    return true;
  }

  PngState state;
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::int64_t height = 0, width = 0, channels = 0, bits = 0;
  std::int64_t packed_row = 0;  // bytes of a row before it is unpacked
};

[[noreturn]] void fail(const Bytes& bytes, const PngState& state) {
  if (state.short_of_data) {
    throw DataError(bytes.path + ": PNG file is cut short, got " + std::to_string(bytes.size) +
                    " bytes; copy or make it again");
  }
  throw DataError(bytes.path + ": damaged PNG file (libpng: " + state.message +
                  "); copy or make it again");
}

// 16-bit grey values as float, or as the uint8 that a label map needs.
at::Tensor widen(const at::Tensor& raw, const Bytes& bytes, Decode decode, std::int64_t height,
                 std::int64_t width, std::int64_t channels) {
  const auto* in = reinterpret_cast<const std::uint16_t*>(raw.const_data_ptr<std::uint8_t>());
  const std::int64_t count = height * width * channels;
  if (decode == Decode::label) {
    at::Tensor map = at::empty({height, width, channels}, at::kByte);
    auto* out = map.mutable_data_ptr<std::uint8_t>();
    for (std::int64_t i = 0; i < count; ++i) {
      if (in[i] > 255) {
        throw DataError(bytes.path + ": 16-bit label holds value " + std::to_string(in[i]) +
                        ", values go up to 255; renumber the classes");
      }
      out[i] = static_cast<std::uint8_t>(in[i]);
    }
    return map;
  }
  at::Tensor image = at::empty({height, width, channels}, at::kFloat);
  auto* out = image.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < count; ++i) out[i] = in[i];
  return image;
}

}  // namespace

bool is_png(const Bytes& bytes) { return bytes.size >= 8 && png_sig_cmp(bytes.data, 0, 8) == 0; }

at::Tensor decode_png(const Bytes& bytes, Decode decode) {
  if (at::Tensor image = decode_plain_png(bytes, decode); image.defined()) return image;
  PngReader reader(bytes);
  if (!reader.start(decode)) fail(bytes, reader.state);
  if (reader.bits == 16 && decode == Decode::rgb) {
    throw DataError(bytes.path +
                    ": holds 16-bit values, expected 8-bit RGB; set color_type = \"unchanged\" to "
                    "read them as they are");
  }
  const std::int64_t row_bytes = reader.width * reader.channels * (reader.bits / 8);
  check_size(bytes, "PNG", reader.height, reader.width, row_bytes * reader.height);
  if (reader.packed_row * reader.height / kMostInflation >
      static_cast<std::int64_t>(bytes.size)) {
    throw DataError(bytes.path + ": PNG file claims " + std::to_string(reader.height) + " x " +
                    std::to_string(reader.width) + " pixels, more than its " +
                    std::to_string(bytes.size) + " bytes can hold; copy or make it again");
  }
  at::Tensor image = at::empty({reader.height, row_bytes}, at::kByte);
  std::vector<png_bytep> rows(static_cast<std::size_t>(reader.height));
  auto* first = image.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t y = 0; y < reader.height; ++y) {
    rows[static_cast<std::size_t>(y)] = first + y * row_bytes;
  }
  if (!reader.pixels(rows.data())) fail(bytes, reader.state);
  if (reader.bits == 16) {
    image = widen(image, bytes, decode, reader.height, reader.width, reader.channels);
  } else {
    image = image.view({reader.height, reader.width, reader.channels});
  }
  return decode == Decode::label && reader.channels == 1 ? image.squeeze(2) : image;
}

struct PngRows::State {
  std::FILE* file = nullptr;
  PngState messages;
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::size_t row_bytes = 0;
  std::string partial;

  ~State() {
    png_destroy_write_struct(&png, &info);
    if (file == nullptr) return;
    std::fclose(file);
    std::remove(partial.c_str());
  }
  /// False when libpng left one of these by longjmp.
  bool begin(png_uint_32 width, png_uint_32 height, int channels,
             const std::vector<png_color>& colours) {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    png_init_io(png, file);
    const int colour = !colours.empty() ? PNG_COLOR_TYPE_PALETTE
                       : channels == 1  ? PNG_COLOR_TYPE_GRAY
                                        : PNG_COLOR_TYPE_RGB;
    png_set_IHDR(png, info, width, height, 8, colour, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (!colours.empty()) {
      png_set_PLTE(png, info, colours.data(), static_cast<int>(colours.size()));
    }
    png_set_compression_level(png, kLevel);
    if (channels == 1) png_set_filter(png, 0, PNG_FILTER_NONE);
    png_write_info(png, info);
    return true;
  }
  bool rows(const std::uint8_t* pixels, std::int64_t count) {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    for (std::int64_t y = 0; y < count; ++y) {
      png_write_row(png, pixels + static_cast<std::size_t>(y) * row_bytes);
    }
    return true;
  }
  bool end() {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    png_write_end(png, nullptr);
    return true;
  }
};

PngRows::PngRows(const std::string& path, std::int64_t height, std::int64_t width, int channels,
                 const std::vector<std::vector<std::int64_t>>& palette)
    : path_(path), state_(std::make_unique<State>()) {
  State& state = *state_;
  state.partial = path + ".partial";
  state.row_bytes = static_cast<std::size_t>(width * channels);
  std::vector<png_color> colours;
  for (std::size_t i = 0; channels == 1 && i < std::min<std::size_t>(palette.size(), 256); ++i) {
    colours.push_back({static_cast<png_byte>(palette[i][0]), static_cast<png_byte>(palette[i][1]),
                       static_cast<png_byte>(palette[i][2])});
  }
  if (!colours.empty()) colours.resize(256, {0, 0, 0});  // ignored pixels have an index, too
  state.file = std::fopen(state.partial.c_str(), "wbe");
  if (state.file == nullptr) fail(std::strerror(errno));
  state.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &state.messages, on_error, on_warning);
  state.info = state.png == nullptr ? nullptr : png_create_info_struct(state.png);
  if (state.info == nullptr || !state.begin(static_cast<png_uint_32>(width),
                                            static_cast<png_uint_32>(height), channels, colours)) {
    fail(state.messages.message);
  }
}

PngRows::~PngRows() = default;

void PngRows::fail(const std::string& why) const {
  throw UserError(path_ + ": cannot be written: " + why);
}

void PngRows::write(const std::uint8_t* pixels, std::int64_t rows) {
  if (!state_->rows(pixels, rows)) fail(state_->messages.message);
}

void PngRows::finish() {
  if (!state_->end()) fail(state_->messages.message);
  const bool closed = std::fclose(state_->file) == 0;
  state_->file = nullptr;
  if (!closed || std::rename(state_->partial.c_str(), path_.c_str()) != 0) {
    const std::string why = std::strerror(errno);
    std::remove(state_->partial.c_str());
    fail(why);
  }
}

std::string encode_png(const std::uint8_t* pixels, std::int64_t height, std::int64_t width,
                       int channels, const std::vector<std::uint8_t>& palette) {
  std::string out;
  PngState state;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &state, on_error, on_warning);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  std::vector<png_color> colours;
  for (std::size_t i = 0; i + 2 < palette.size(); i += 3) {
    colours.push_back({palette[i], palette[i + 1], palette[i + 2]});
  }
  if (info == nullptr || setjmp(png_jmpbuf(png)) != 0) {
    png_destroy_write_struct(&png, &info);
    throw std::runtime_error(std::string("libpng cannot write: ") + state.message);
  }
  png_set_write_fn(png, &out, on_write, on_flush);
  const int colour = !colours.empty() ? PNG_COLOR_TYPE_PALETTE
                     : channels == 1  ? PNG_COLOR_TYPE_GRAY
                                      : PNG_COLOR_TYPE_RGB;
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height), 8,
               colour, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!colours.empty()) png_set_PLTE(png, info, colours.data(), static_cast<int>(colours.size()));
  png_set_compression_level(png, kLevel);
  if (channels == 1) png_set_filter(png, 0, PNG_FILTER_NONE);
  png_write_info(png, info);
  for (std::int64_t y = 0; y < height; ++y) png_write_row(png, pixels + y * width * channels);
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return out;
}

}  // namespace strata::io::detail
