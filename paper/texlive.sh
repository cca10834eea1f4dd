#!/bin/sh
# The TeX that the paper needs, from Debian: some 80 MB.
set -e
if command -v pdflatex >/dev/null && command -v bibtex >/dev/null &&
    kpsewhich booktabs.sty caption.sty hyperref.sty mathtools.sty microtype.sty natbib.sty abbrvnat.bst >/dev/null; then
    exit 0
fi
packages="texlive-latex-base texlive-latex-recommended"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages >/dev/null
else
    echo "The paper needs TeX: as root, apt-get install $packages" >&2
    exit 1
fi
