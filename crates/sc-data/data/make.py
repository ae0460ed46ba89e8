"""Makes the built-in gene tables from public files; README.md names them.

usage: make.py FOLDER, which holds genes_homo_sapiens.csv.gz, genes_mus_musculus.csv.gz,
hgnc_complete_set_slim.tsv.gz and orthologs_human_mouse_hcop.tsv.gz.
"""

import collections
import csv
import gzip
import pathlib
import sys

source = pathlib.Path(sys.argv[1])
here = pathlib.Path(__file__).parent
SUPPORT = 7  # of the twelve databases: most of them must agree on a pair of orthologues


def rows(name, delimiter):
    with gzip.open(source / name, "rt", encoding="utf-8") as f:
        yield from csv.reader(f, delimiter=delimiter, quoting=csv.QUOTE_NONE)


def write(name, lines):
    with open(here / name, "wb") as raw:
        # No name and no time in the header: the same input gives the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=9) as f:
            f.write("".join(line + "\n" for line in lines).encode())
    print(name, len(lines), (here / name).stat().st_size)


def genes(name, prefix):
    """Number of the id and symbol of every gene that has a name beside its id."""
    out = {}
    for row in rows(name, ","):
        id, symbol = row[0], row[1]
        if id.startswith(prefix) and symbol and not symbol.startswith("ENS"):
            out[int(id[len(prefix) :])] = symbol
    return out


human = genes("genes_homo_sapiens.csv.gz", "ENSG")
mouse = genes("genes_mus_musculus.csv.gz", "ENSMUSG")
earlier, other = {}, {}
table = rows("hgnc_complete_set_slim.tsv.gz", "\t")
columns = next(table)
for row in table:
    row = dict(zip(columns, row))
    id = row["ensembl_gene_id"]
    if not id.startswith("ENSG"):
        continue
    id = int(id[4:])
    # A symbol of HGNC that GENCODE has dropped since is an earlier one.
    before = [n for n in row["prev_symbol"].split("|") + [row["symbol"]] if n]
    earlier[id] = [n for n in before if n != human.get(id)]
    other[id] = [n for n in row["alias_symbol"].split("|") if n]
ids = sorted(set(human) | {i for i in earlier if earlier[i] or other[i]})
write(
    "human.tsv.gz",
    ["\t".join([str(i), human.get(i, ""), "|".join(earlier.get(i, [])), "|".join(other.get(i, []))]) for i in ids],
)
write("mouse.tsv.gz", [f"{i}\t{mouse[i]}\t\t" for i in sorted(mouse)])

pairs = set()
table = rows("orthologs_human_mouse_hcop.tsv.gz", "\t")
next(table)
for h, _, m, _, support in table:
    if h.startswith("ENSG") and m.startswith("ENSMUSG") and len(support.split(",")) >= SUPPORT:
        pairs.add((int(h[4:]), int(m[7:])))
left = collections.Counter(h for h, _ in pairs)
right = collections.Counter(m for _, m in pairs)
one = sorted((h, m) for h, m in pairs if left[h] == 1 and right[m] == 1)
write("orthologs.tsv.gz", [f"{h}\t{m}" for h, m in one])
