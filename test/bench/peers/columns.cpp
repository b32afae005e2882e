// Bytes → checked columns with simdjson's on-demand parser: the job of simd-json-wasm, as one would write it in C++ for speed. It does less:
// what it skips (labels, unknown members) is not looked into, neither for duplicate keys nor for its grammar.
//
// Usage: columns CORPUS. For each line on stdin one pass over the file; for each pass one line of JSON on stdout.
#include <simdjson.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string_view>
#include <utility>
#include <vector>

using namespace simdjson;

namespace {

constexpr size_t MAX_NAME = 64;
constexpr int64_t MAX_WEIGHT = 1 << 20;
constexpr uint32_t MAX_METRICS = 256;

bool name_char[256];

/// Ids of names, dense, in an open hash table; the names' bytes are kept.
class Names {
 public:
  Names() : slots_(1024, 0) {}

  uint32_t id(const char *text, size_t length) {
    uint64_t hash = hash_of(text, length);
    size_t at = hash & (slots_.size() - 1);
    while (slots_[at] != 0) {
      const Entry &entry = entries_[slots_[at] - 1];
      if (entry.hash == hash && entry.length == length && std::memcmp(bytes_.data() + entry.offset, text, length) == 0)
        return slots_[at] - 1;
      at = (at + 1) & (slots_.size() - 1);
    }
    entries_.push_back({hash, bytes_.size(), length});
    bytes_.insert(bytes_.end(), text, text + length);
    slots_[at] = static_cast<uint32_t>(entries_.size());
    if (entries_.size() * 2 > slots_.size()) grow();
    return static_cast<uint32_t>(entries_.size() - 1);
  }

 private:
  struct Entry {
    uint64_t hash;
    size_t offset;
    size_t length;
  };

  static uint64_t hash_of(const char *text, size_t length) {
    uint64_t hash = 0x9e3779b97f4a7c15ull ^ length;
    while (length >= 8) {
      uint64_t word;
      std::memcpy(&word, text, 8);
      hash = (hash ^ word) * 0xff51afd7ed558ccdull;
      hash ^= hash >> 32;
      text += 8;
      length -= 8;
    }
    uint64_t rest = 0;
    std::memcpy(&rest, text, length);
    hash = (hash ^ rest) * 0xff51afd7ed558ccdull;
    return hash ^ (hash >> 32);
  }

  void grow() {
    std::vector<uint32_t> slots(slots_.size() * 2, 0);
    for (size_t i = 0; i < entries_.size(); i++) {
      size_t at = entries_[i].hash & (slots.size() - 1);
      while (slots[at] != 0) at = (at + 1) & (slots.size() - 1);
      slots[at] = static_cast<uint32_t>(i + 1);
    }
    slots_.swap(slots);
  }

  std::vector<uint32_t> slots_;
  std::vector<Entry> entries_;
  std::vector<char> bytes_;
};

bool two(const char *p, int &out) {
  unsigned a = static_cast<unsigned char>(p[0]) - '0', b = static_cast<unsigned char>(p[1]) - '0';
  if (a > 9 || b > 9) return false;
  out = static_cast<int>(a * 10 + b);
  return true;
}

/// Hinnant's days_from_civil.
int64_t days(int64_t y, int m, int d) {
  y -= m <= 2;
  const int64_t era = (y >= 0 ? y : y - 399) / 400;
  const int64_t yoe = y - era * 400;
  const int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
  return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

/// RFC 3339 with a zone, to the millisecond; second 60 is refused.
bool instant(const char *p, size_t length, double &ms) {
  int century, year, month, day, hour, minute, second;
  if (length < 20 || !two(p, century) || !two(p + 2, year) || p[4] != '-' || !two(p + 5, month) || p[7] != '-' || !two(p + 8, day) ||
      (p[10] != 'T' && p[10] != 't') || !two(p + 11, hour) || p[13] != ':' || !two(p + 14, minute) || p[16] != ':' || !two(p + 17, second))
    return false;
  year += century * 100;
  static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59) return false;
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (day > month_days[month - 1] + (month == 2 && leap ? 1 : 0)) return false;
  size_t at = 19;
  int millisecond = 0;
  if (p[at] == '.') {
    int digits = 0;
    for (at++; at < length && p[at] >= '0' && p[at] <= '9'; at++, digits++)
      if (digits < 3) millisecond = millisecond * 10 + (p[at] - '0');
    if (digits == 0) return false;
    for (; digits < 3; digits++) millisecond *= 10;
  }
  if (at >= length) return false;
  int zone = 0;
  if (p[at] == 'Z' || p[at] == 'z') {
    at++;
  } else {
    int h, m;
    if (at + 6 > length || (p[at] != '+' && p[at] != '-') || !two(p + at + 1, h) || p[at + 3] != ':' || !two(p + at + 4, m) || h > 23 || m > 59)
      return false;
    zone = (h * 60 + m) * (p[at] == '-' ? -1 : 1);
    at += 6;
  }
  if (at != length) return false;
  ms = static_cast<double>(days(year, month, day) * 86400000 + ((hour * 60 + minute - zone) * 60 + second) * 1000ll + millisecond);
  return true;
}

struct Columns {
  std::vector<uint32_t> producer, model, suite, offsets, keys;
  std::vector<double> time, weight, values;
  std::vector<uint32_t> id_at;
  std::vector<char> ids;
  size_t rows = 0, entries = 0, refused = 0;
};

enum Seen : unsigned { VERSION = 1, ID = 2, PRODUCER = 4, MODEL = 8, SUITE = 16, TIME = 32, WEIGHT = 64, METRICS = 128 };
constexpr unsigned REQUIRED = VERSION | ID | PRODUCER | MODEL | SUITE | TIME | METRICS;

class Reader {
 public:
  explicit Reader(Columns &out) : out_(out), stamps_(4096, 0) {}

  void line(const char *text, size_t length, size_t capacity) {
    const size_t entries = out_.entries;
    bool good = false;
    ondemand::document document;
    if (!parser_.iterate(padded_string_view(text, length, capacity)).get(document)) good = report(document) && at_end(document);
    if (good) {
      out_.rows++;
    } else {
      out_.refused++;
      out_.entries = entries;
    }
  }

 private:
  /// Nothing but blanks behind the value.
  static bool at_end(ondemand::document &document) { return document.current_location().error() == OUT_OF_BOUNDS; }

  static bool name(std::string_view text) {
    if (text.size() < 1 || text.size() > MAX_NAME) return false;
    bool good = true;
    for (unsigned char c : text) good &= name_char[c];
    return good;
  }

  /// A string's text: in place where it holds no escape, else unescaped by the parser.
  static bool text_of(ondemand::value value, std::string_view &text) {
    std::string_view token = value.raw_json_token();
    if (token.empty() || token[0] != '"') return false;
    const char *from = token.data() + 1;
    const char *p = from;
    while (*p != '"' && *p != '\\') p++;
    if (*p == '"') {
      text = std::string_view(from, static_cast<size_t>(p - from));
      return true;
    }
    return !value.get_string().get(text);
  }

  bool interned(ondemand::value value, Names &names, std::vector<uint32_t> &column) {
    std::string_view text;
    if (!text_of(value, text) || !name(text)) return false;
    if (column.size() <= out_.rows) column.resize(out_.rows * 2 + 1024);
    column[out_.rows] = names.id(text.data(), text.size());
    return true;
  }

  static void put(std::vector<double> &column, size_t row, double value) {
    if (column.size() <= row) column.resize(row * 2 + 1024);
    column[row] = value;
  }

  bool report(ondemand::document &document) {
    ondemand::object object;
    if (document.get_object().get(object)) return false;
    unsigned seen = 0;
    put(out_.weight, out_.rows, 1);
    for (auto result : object) {
      ondemand::field field;
      if (std::move(result).get(field)) return false;
      const char *key = field.key().raw();
      unsigned bit = 0;
      bool good = true;
      auto is = [key](const char *wanted, size_t length) { return std::memcmp(key, wanted, length) == 0 && key[length] == '"'; };
      switch (key[0]) {
        case 's':
          if (is("schemaVersion", 13)) {
            bit = VERSION;
            int64_t version;
            good = !field.value().get_int64().get(version) && version == 1;
          } else if (is("suite", 5)) {
            bit = SUITE;
            good = interned(field.value(), suites_, out_.suite);
          } else if (is("sampleSize", 10)) {
            bit = WEIGHT;
            int64_t weight;
            good = !field.value().get_int64().get(weight) && weight >= 1 && weight <= MAX_WEIGHT;
            if (good) put(out_.weight, out_.rows, static_cast<double>(weight));
          }
          break;
        case 'r':
          if (is("reportId", 8)) {
            bit = ID;
            std::string_view text;
            good = text_of(field.value(), text) && name(text);
            if (good) {
              if (out_.id_at.size() <= out_.rows + 1) out_.id_at.resize(out_.rows * 2 + 1024);
              const size_t at = out_.id_at[out_.rows];
              if (out_.ids.size() < at + text.size()) out_.ids.resize(at * 2 + 65536);
              std::memcpy(out_.ids.data() + at, text.data(), text.size());
              out_.id_at[out_.rows + 1] = static_cast<uint32_t>(at + text.size());
            }
          }
          break;
        case 'p':
          if (is("producer", 8)) {
            bit = PRODUCER;
            good = interned(field.value(), producers_, out_.producer);
          }
          break;
        case 'm':
          if (is("model", 5)) {
            bit = MODEL;
            good = interned(field.value(), models_, out_.model);
          } else if (is("metrics", 7)) {
            bit = METRICS;
            good = metrics(field.value());
          }
          break;
        case 'o':
          if (is("observedAt", 10)) {
            bit = TIME;
            std::string_view text;
            double ms;
            good = text_of(field.value(), text) && instant(text.data(), text.size(), ms);
            if (good) put(out_.time, out_.rows, ms);
          }
          break;
        default:
          break;
      }
      if (!good || (seen & bit) != 0) return false;
      seen |= bit;
    }
    if ((seen & REQUIRED) != REQUIRED) return false;
    if (out_.offsets.size() <= out_.rows + 1) out_.offsets.resize(out_.rows * 2 + 1024);
    out_.offsets[out_.rows + 1] = static_cast<uint32_t>(out_.entries);
    return true;
  }

  bool metrics(ondemand::value value) {
    ondemand::object object;
    if (value.get_object().get(object)) return false;
    stamp_++;
    uint32_t count = 0;
    for (auto result : object) {
      ondemand::field field;
      if (std::move(result).get(field)) return false;
      const char *key = field.key().raw();
      size_t length = 0;
      while (length <= MAX_NAME && name_char[static_cast<unsigned char>(key[length])]) length++;
      if (length < 1 || length > MAX_NAME || key[length] != '"') return false;
      const uint32_t id = keys_.id(key, length);
      if (id >= stamps_.size()) stamps_.resize(id * 2);
      if (stamps_[id] == stamp_) return false;
      stamps_[id] = stamp_;
      double x;
      if (field.value().get_double().get(x) || !std::isfinite(x)) return false;
      if (out_.keys.size() <= out_.entries) {
        out_.keys.resize(out_.entries * 2 + 4096);
        out_.values.resize(out_.entries * 2 + 4096);
      }
      out_.keys[out_.entries] = id;
      out_.values[out_.entries++] = x;
      count++;
    }
    return count >= 1 && count <= MAX_METRICS;
  }

  Columns &out_;
  ondemand::parser parser_;
  Names producers_, models_, suites_, keys_;
  std::vector<uint64_t> stamps_;
  uint64_t stamp_ = 0;
};

uint64_t cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000ull + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  for (int c = 0; c < 256; c++)
    name_char[c] = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  std::FILE *file = std::fopen(argv[1], "rb");
  if (file == nullptr) return 2;
  std::fseek(file, 0, SEEK_END);
  const size_t size = static_cast<size_t>(std::ftell(file));
  std::rewind(file);
  std::vector<char> bytes(size + SIMDJSON_PADDING, 0);
  if (std::fread(bytes.data(), 1, size, file) != size) return 2;
  std::fclose(file);
  Columns columns;
  Reader reader(columns);
  char command[64];
  while (std::fgets(command, sizeof command, stdin) != nullptr) {
    const uint64_t from = cpu_ns();
    columns.rows = columns.entries = columns.refused = 0;
    for (size_t at = 0; at < size;) {
      const char *feed = static_cast<const char *>(std::memchr(bytes.data() + at, '\n', size - at));
      const size_t end = feed == nullptr ? size : static_cast<size_t>(feed - bytes.data());
      if (end > at) reader.line(bytes.data() + at, end - at, bytes.size() - at);
      at = end + 1;
    }
    const uint64_t took = cpu_ns() - from;
    double time = 0, weight = 0;
    uint64_t bits = 0;
    for (size_t i = 0; i < columns.rows; i++) {
      time += columns.time[i] - 1.7e12;
      weight += columns.weight[i];
    }
    for (size_t i = 0; i < columns.entries; i++) {
      uint64_t word;
      std::memcpy(&word, &columns.values[i], 8);
      bits ^= word;
    }
    std::printf("{\"cpuNs\":%llu,\"rows\":%zu,\"refused\":%zu,\"entries\":%zu,\"time\":%.0f,\"weight\":%.0f,\"bits\":\"%llu\"}\n",
                static_cast<unsigned long long>(took), columns.rows, columns.refused, columns.entries, time, weight,
                static_cast<unsigned long long>(bits));
    std::fflush(stdout);
  }
  return 0;
}
