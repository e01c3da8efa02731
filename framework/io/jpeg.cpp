// JPEG through libjpeg(-turbo), with the damage reported that it only warns of.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it
#include <cstring>

#include <jpeglib.h>

#include <jerror.h>

#include "framework/base/error.hpp"
#include "framework/io/codecs.hpp"

namespace strata::io::detail {

namespace {

// libjpeg leaves by longjmp, which skips destructors: the functions that may be left so hold
// nothing but plain values.
struct JpegErrors {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  bool cut_short = false;
  bool damaged = false;
  char message[JMSG_LENGTH_MAX] = "";
};

void on_error(j_common_ptr common) {
  auto* errors = reinterpret_cast<JpegErrors*>(common->err);
  errors->damaged = true;
  (*common->err->format_message)(common, errors->message);
  std::longjmp(errors->jump, 1);
}

// A warning is damage unless pixels do not depend on it. What follows it would only be made up, for
// all of the size that the header claims, so decoding ends there.
void on_message(j_common_ptr common, int level) {
  if (level >= 0) return;  // a trace
  auto* errors = reinterpret_cast<JpegErrors*>(common->err);
  switch (common->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_BOGUS_PROGRESSION:
      return;
    case JWRN_JPEG_EOF:
      errors->cut_short = true;
      break;
    default:
      break;
  }
  on_error(common);
}

struct JpegReader {
  explicit JpegReader(const Bytes& bytes) {
    jpeg.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = on_error;
    errors.base.emit_message = on_message;
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, bytes.data, bytes.size);
  }
  ~JpegReader() { jpeg_destroy_decompress(&jpeg); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  bool header() {
    if (setjmp(errors.jump) != 0) return false;
    jpeg_save_markers(&jpeg, JPEG_APP0 + 1, 0xFFFF);  // EXIF
    jpeg_read_header(&jpeg, TRUE);
    cmyk = jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK;
    return true;
  }

  bool start(Decode decode) {
    if (setjmp(errors.jump) != 0) return false;
    const bool grey = jpeg.jpeg_color_space == JCS_GRAYSCALE && decode != Decode::rgb;
    jpeg.out_color_space = grey ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_calc_output_dimensions(&jpeg);
    return true;
  }

  // Settles for the columns of the area and what else their blocks hold: [left, left + width).
  // Colour that is stored at half the size is smoothed with its neighbours', so that a block more
  // is needed on each side.
  bool columns(const Area& area) {
    if (setjmp(errors.jump) != 0) return false;
    jpeg_start_decompress(&jpeg);
    const std::int64_t margin = margin_of(jpeg.max_h_samp_factor);
    left = static_cast<JDIMENSION>(std::max<std::int64_t>(0, area.left - margin));
    width = static_cast<JDIMENSION>(std::min<std::int64_t>(jpeg.output_width,
                                                           area.left + area.width + margin)) -
            left;
    jpeg_crop_scanline(&jpeg, &left, &width);
    return true;
  }

  // The rows of the area: those above are not computed, those below not even looked at.
  bool rows(const Area& area, std::uint8_t* out) {
    if (setjmp(errors.jump) != 0) return false;
    const std::int64_t top = area.top - margin_of(jpeg.max_v_samp_factor);
    if (top > 0) jpeg_skip_scanlines(&jpeg, static_cast<JDIMENSION>(top));
    const std::int64_t row_bytes = std::int64_t{width} * jpeg.output_components;
    while (jpeg.output_scanline < area.top + area.height) {
      // The margin's rows are written over by the first of the area.
      const std::int64_t y = std::max<std::int64_t>(0, jpeg.output_scanline - area.top);
      JSAMPROW into = out + y * row_bytes;
      jpeg_read_scanlines(&jpeg, &into, 1);
    }
    if (jpeg.output_scanline == jpeg.output_height) jpeg_finish_decompress(&jpeg);
    return true;
  }

  static std::int64_t margin_of(int factor) { return factor > 1 ? std::int64_t{8} * factor : 0; }

  jpeg_decompress_struct jpeg{};
  JpegErrors errors{};
  JDIMENSION left = 0, width = 0;
  bool cmyk = false;
};

// The orientation (1 to 8) in an EXIF block: tag 0x0112 of the first directory; 1 if there is none.
int exif_orientation(const jpeg_marker_struct* marker) {
  for (; marker != nullptr; marker = marker->next) {
    const std::uint8_t* data = marker->data;
    const std::size_t size = marker->data_length;
    if (marker->marker != JPEG_APP0 + 1 || size < 14 || std::memcmp(data, "Exif\0\0", 6) != 0) {
      continue;
    }
    data += 6;
    const std::size_t length = size - 6;
    const bool little = data[0] == 'I';
    auto u16 = [&](std::size_t at) -> unsigned {
      if (at + 2 > length) return 0;
      return little ? data[at] | data[at + 1] << 8 : data[at] << 8 | data[at + 1];
    };
    const std::size_t directory =
        little ? u16(4) | u16(6) << 16 : static_cast<std::size_t>(u16(4)) << 16 | u16(6);
    const unsigned entries = u16(directory);
    for (unsigned i = 0; i < entries; ++i) {
      const std::size_t entry = directory + 2 + 12 * static_cast<std::size_t>(i);
      if (u16(entry) == 0x0112) {
        const unsigned value = u16(entry + 8);
        return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
      }
    }
  }
  return 1;
}

// Turns the picture upright.
at::Tensor upright(const at::Tensor& image, int orientation) {
  if (orientation == 1) return image;
  const std::int64_t height = image.size(0), width = image.size(1), channels = image.size(2);
  const bool turned = orientation >= 5;  // rows of the file are columns of the picture
  const bool rows_reversed =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool columns_reversed =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const std::int64_t out_height = turned ? width : height, out_width = turned ? height : width;
  at::Tensor result = at::empty({out_height, out_width, channels}, at::kByte);
  const auto* in = image.const_data_ptr<std::uint8_t>();
  auto* out = result.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t y = 0; y < out_height; ++y) {
    for (std::int64_t x = 0; x < out_width; ++x) {
      std::int64_t row = turned ? x : y, column = turned ? y : x;
      if (rows_reversed) row = height - 1 - row;
      if (columns_reversed) column = width - 1 - column;
      std::memcpy(out, in + (row * width + column) * channels, static_cast<std::size_t>(channels));
      out += channels;
    }
  }
  return result;
}

void check(const Bytes& bytes, bool done, const JpegErrors& errors) {
  if (errors.cut_short) {
    throw DataError(bytes.path + ": JPEG file is cut short, got " + std::to_string(bytes.size) +
                    " bytes; copy or make it again");
  }
  if (!done || errors.damaged) {
    throw DataError(bytes.path + ": damaged JPEG file (libjpeg: " + errors.message +
                    "); copy or make it again");
  }
}

}  // namespace

bool is_jpeg(const Bytes& bytes) {
  return bytes.size >= 3 && bytes.data[0] == 0xFF && bytes.data[1] == 0xD8 && bytes.data[2] == 0xFF;
}

std::optional<Area> jpeg_in_areas(const Bytes& bytes) {
  JpegReader reader(bytes);
  // What is wrong with it, or unusual, shows when the whole is decoded.
  if (!reader.header() || reader.errors.damaged || reader.errors.cut_short) return {};
  const bool ended =
      bytes.data[bytes.size - 2] == 0xFF && bytes.data[bytes.size - 1] == JPEG_EOI;
  const jpeg_decompress_struct& jpeg = reader.jpeg;
  const bool one_scan = jpeg.progressive_mode == 0 && jpeg.comps_in_scan == jpeg.num_components;
  if (!ended || !one_scan || reader.cmyk || exif_orientation(jpeg.marker_list) != 1) return {};
  return Area{0, 0, jpeg.image_height, jpeg.image_width};
}

at::Tensor decode_jpeg(const Bytes& bytes, Decode decode, const std::optional<Area>& area) {
  JpegReader reader(bytes);
  check(bytes, reader.header(), reader.errors);
  if (reader.cmyk) return {};
  check(bytes, reader.start(decode), reader.errors);
  const int orientation = exif_orientation(reader.jpeg.marker_list);  // gone once it has finished
  const Area whole{0, 0, reader.jpeg.output_height, reader.jpeg.output_width};
  check_size(bytes, "JPEG", whole.height, whole.width,
             whole.height * whole.width * reader.jpeg.output_components);
  const Area wanted = area.value_or(whole);
  check(bytes, reader.columns(wanted), reader.errors);
  at::Tensor image =
      at::empty({wanted.height, reader.width, reader.jpeg.output_components}, at::kByte);
  check(bytes, reader.rows(wanted, image.mutable_data_ptr<std::uint8_t>()), reader.errors);
  image = image.narrow(1, wanted.left - reader.left, wanted.width);
  image = upright(image, orientation);
  return decode == Decode::label && image.size(2) == 1 ? image.squeeze(2) : image;
}

}  // namespace strata::io::detail
