#!/bin/bash
# usage: make_image.sh GRUB_CFG KERNEL IMAGE
# Makes a bootable CD image of GRUB and the kernel.
#
# The configuration file lies uncompressed in the image, so a copy of the image can be given other
# kernel options by overwriting the blanks in it: no tool is needed for that.
set -euo pipefail

config=$1 kernel=$2 image=$3

for tool in grub-mkrescue xorriso mformat; do
  command -v "$tool" >/dev/null ||
    { echo "make_image.sh: $tool is missing; tools/setup installs it" >&2; exit 1; }
done

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/boot/grub"
cp "$config" "$tree/boot/grub/grub.cfg"
cp "$kernel" "$tree/boot/kernel"

# The same input gives the same image, and what is not needed stays out of it.
export SOURCE_DATE_EPOCH=946684800
find "$tree" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
log=$tree.log
grub-mkrescue --output="$image" --install-modules="multiboot normal" --locales= --fonts= --themes= \
  "$tree" -- -volume_date all_file_dates "=$SOURCE_DATE_EPOCH" -volume_date uuid 2000010100000000 \
  >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; exit 1; }
rm -f "$log"
