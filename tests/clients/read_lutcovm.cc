// A reader of lutCovm files, version 20210801, as DelphesO2's C++ reads them: whole structs with natural alignment.
// Written from the layout in reference/delpheso2.md 1.1 to 1.5, for test_lutcovm_cc.py. Usage: read_lutcovm FILE < QUERIES
// Prints the header, then for each line "nch radius eta pt" the bins that hold it and the entry there, all as exact hex floats.
#include <cmath>
#include <cstdio>
#include <vector>

struct AxisMap {
  int nbins;
  float min;
  float max;
  bool log;
  float center(int bin) const {
    float width = (max - min) / nbins;
    float value = min + (bin + 0.5f) * width;
    return log ? std::pow(10.f, value) : value;
  }
  int find(float value) const {
    float width = (max - min) / nbins;
    float x = log ? static_cast<float>(std::log10(static_cast<double>(value))) : value;
    int bin = static_cast<int>((x - min) / width);
    return bin < 0 ? 0 : bin >= nbins ? nbins - 1 : bin;
  }
};

struct Header {
  int version;
  int pdg;
  float mass;
  float field;
  AxisMap nch, rad, eta, pt;
};

struct Entry {
  float nch, eta, pt;
  bool valid;
  float eff, eff2, itof, otof;
  float covm[15];
  float eigval[5];
  float eigvec[5][5];
  float eiginv[5][5];
};

static_assert(sizeof(AxisMap) == 16 && sizeof(Header) == 80 && sizeof(Entry) == 312, "natural alignment");

static void print(const float* values, int n) {
  for (int i = 0; i < n; ++i) std::printf(" %a", values[i]);
}

int main(int argc, char** argv) {
  std::FILE* file = argc == 2 ? std::fopen(argv[1], "rb") : nullptr;
  Header header;
  if (!file || std::fread(&header, sizeof header, 1, file) != 1 || header.version != 20210801) return 1;
  std::printf("%d %a %a", header.pdg, header.mass, header.field);
  size_t n = 1;
  for (const AxisMap& map : {header.nch, header.rad, header.eta, header.pt}) {
    std::printf(" %d %a %a %d", map.nbins, map.min, map.max, map.log);
    n *= map.nbins;
  }
  std::vector<Entry> entries(n);
  if (std::fread(entries.data(), sizeof(Entry), n, file) != n || std::fgetc(file) != EOF) return 2;
  std::printf("\n");
  size_t bad = 0;  // entries whose own bin centres are not those of the axes
  for (size_t i = 0; i < n; ++i) {
    int pt = i % header.pt.nbins, eta = i / header.pt.nbins % header.eta.nbins;
    int nch = i / header.pt.nbins / header.eta.nbins / header.rad.nbins;
    const Entry& e = entries[i];
    bad += std::fabs(e.pt / header.pt.center(pt) - 1) > 1e-6f || std::fabs(e.eta - header.eta.center(eta)) > 1e-6f ||
           std::fabs(e.nch / header.nch.center(nch) - 1) > 1e-6f;
  }
  std::printf("%zu\n", bad);
  float nch, radius, eta, pt;
  while (std::scanf("%f %f %f %f", &nch, &radius, &eta, &pt) == 4) {
    int bins[4] = {header.nch.find(nch), header.rad.find(radius), header.eta.find(eta), header.pt.find(pt)};
    size_t index = ((size_t(bins[0]) * header.rad.nbins + bins[1]) * header.eta.nbins + bins[2]) * header.pt.nbins + bins[3];
    const Entry& e = entries[index];
    std::printf("%d %d %d %d %d", bins[0], bins[1], bins[2], bins[3], e.valid);
    print(&e.eff, 4);
    print(e.covm, 15);
    print(e.eigval, 5);
    print(&e.eigvec[0][0], 25);
    print(&e.eiginv[0][0], 25);
    std::printf("\n");
  }
  return 0;
}
