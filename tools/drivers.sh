#!/bin/sh
# tools/drivers.sh - CPU Vulkan drivers for testing, unpacked beside the build.
#
#   sh tools/drivers.sh [--swiftshader] [--folder DIR]
#
# Fetches lavapipe (Mesa 24 or newer: Debian 12 has it in backports) with whatever libraries of it this machine lacks,
# and with --swiftshader SwiftShader (from Debian's chromium-common), and unpacks them below DIR (default
# build/drivers). Nothing is installed: a private apt state is used, packages are unpacked and not configured, the
# machine's sources and graphics driver stay as they are. Needs no root. The mirror is the one apt is configured with;
# only the suite is changed. Ends by writing DIR/env.sh, to be sourced:
#
#   LIKENESS_LAVAPIPE_ICD, LIKENESS_SWIFTSHADER_ICD   driver files of the two
#   VK_DRIVER_FILES (and VK_ICD_FILENAMES)            lavapipe, unless already set
#   LD_LIBRARY_PATH                                   extended only where libraries had to be unpacked
#
# Quick when everything is already there.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$root/build/drivers
swiftshader=no
while [ $# -gt 0 ]; do
    case $1 in
        --swiftshader) swiftshader=yes ;;
        --folder) folder=$2; shift ;;
        -h | --help) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "drivers.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
say() { echo "drivers.sh: $*" >&2; }

# ---- a private apt: own lists and archives, the machine's mirror and keys ------------------------------------------

release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
distribution=$(. /etc/os-release && echo "${ID:-}")
private=$folder/apt

private_apt() {
    tool=$1
    shift
    "$tool" -o Dir::State="$private/state" -o Dir::State::status=/var/lib/dpkg/status \
        -o Dir::Cache="$private/cache" -o Dir::Cache::archives="$private/archives" \
        -o Dir::Etc::sourcelist="$private/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o Dir::Etc::preferences=/dev/null \
        -o Debug::NoLocking=1 -o APT::Sandbox::User= -o APT::Update::Post-Invoke= -o APT::Update::Post-Invoke-Success= \
        -o DPkg::Post-Invoke= -o Binary::apt-get::APT::Keep-Downloaded-Packages=true -qq "$@"
}

# Mirror of the release, as apt itself sees it: "URI suite" of every binary index of the main component. Sources that
# say "stable" are known by their code name once lists were read.
targets() {
    apt-get indextargets --format '$(COMPONENT) $(REPO_URI) $(RELEASE) $(CODENAME)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 == "main" {suite = $4 == "" ? $3 : $4} $1 == "main" && !seen[$2 suite]++ {print $2, suite}'
}

find_mirror() {
    targets >"$private/targets"
    mirror=$(awk -v r="$release" '$2 == r {print $1; exit}' "$private/targets")
}

prepare_apt() {
    [ -f "$private/ready" ] && return 0
    command -v apt-get >/dev/null && [ -n "$release" ] || {
        say "no apt here: install a Vulkan CPU driver (lavapipe) yourself and set VK_DRIVER_FILES to its JSON file"
        exit 1
    }
    mkdir -p "$private/state/lists/partial" "$private/cache" "$private/archives/partial"
    find_mirror
    if [ -z "$mirror" ] && [ "$(id -u)" = 0 ]; then # lists were never read, or removed to save space
        say "\$ apt-get update"
        apt-get -q update >&2 || true
        find_mirror
    fi
    [ -n "$mirror" ] || { say "apt has no package lists of $release: run apt-get update, then this again"; exit 1; }
    : >"$private/sources.list"
    while read -r uri suite; do
        case $suite in
            "$release" | "$release"-updates | "$release"-security | "$release"/updates)
                echo "deb $uri $suite main" >>"$private/sources.list" ;;
        esac
    done <"$private/targets"
    if [ "$distribution$release" = debianbookworm ]; then
        echo "deb $mirror $release-backports main" >>"$private/sources.list"
    fi
    say "reading package lists ($mirror)"
    private_apt apt-get update || { say "apt could not read the package lists of $mirror"; exit 1; }
    touch "$private/ready"
}

multiarch() { dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch 2>/dev/null || echo "$(uname -m)-linux-gnu"; }

# Folders with libraries below an unpacked tree, joined by colons.
library_folders() {
    find "$1" -name '*.so*' \( -type f -o -type l \) -printf '%h\n' | sort -u | tr '\n' ':' | sed 's/:$//'
}

# ---- lavapipe --------------------------------------------------------------------------------------------------------

# A copy of the driver's JSON with an absolute path, so that no search path is needed to find the driver itself.
write_json() { # JSON-OUT LIBRARY API
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "%s"}}\n' "$2" "$3" >"$1"
}

mesa_major() { dpkg-query -W -f '${Version}' mesa-vulkan-drivers 2>/dev/null | sed 's/^[0-9]*://; s/\..*//'; }

lavapipe_json=$folder/lavapipe.json
if [ ! -f "$folder/lavapipe.done" ]; then
    installed=$(mesa_major || true)
    system_json=$(ls /usr/share/vulkan/icd.d/lvp_icd*.json 2>/dev/null | head -n 1 || true)
    if [ -n "$system_json" ] && [ "${installed:-0}" -ge 24 ]; then
        say "using the installed lavapipe (Mesa $installed)"
        cp "$system_json" "$lavapipe_json"
        : >"$folder/lavapipe.libraries"
    else
        prepare_apt
        set -- install --download-only -y --no-install-recommends --reinstall
        [ "$distribution$release" = debianbookworm ] && set -- "$@" -t "$release-backports"
        rm -f "$private"/archives/*.deb
        say "downloading lavapipe and what it needs"
        private_apt apt-get "$@" mesa-vulkan-drivers >/dev/null ||
            { rm -f "$private/ready"; say "apt could not download mesa-vulkan-drivers"; exit 1; }
        rm -rf "$folder/lavapipe"
        mkdir -p "$folder/lavapipe"
        for package in "$private"/archives/*.deb; do
            case $package in
                # The C library must be the machine's own; its version is new enough for its own release.
                */libc6_* | */libc-bin_* | */libgcc-s1_* | */gcc-*-base_*) continue ;;
            esac
            dpkg-deb --fsys-tarfile "$package" | tar -x -C "$folder/lavapipe" --wildcards --no-wildcards-match-slash \
                --exclude './usr/share/doc' --exclude './usr/share/man' ./ 2>/dev/null ||
                dpkg-deb -x "$package" "$folder/lavapipe"
        done
        rm -rf "$folder/lavapipe/usr/share/doc" "$folder/lavapipe/usr/share/man" "$folder/lavapipe/usr/share/bug"
        library=$(find "$folder/lavapipe" -name 'libvulkan_lvp.so' | head -n 1)
        [ -n "$library" ] || { say "the package has no libvulkan_lvp.so"; exit 1; }
        library_folders "$folder/lavapipe" >"$folder/lavapipe.libraries"
        write_json "$lavapipe_json" "$library" 1.3.0
        missing=$(LD_LIBRARY_PATH=$(cat "$folder/lavapipe.libraries") ldd "$library" | awk '/not found/ {print $1}')
        [ -z "$missing" ] || { say "lavapipe lacks libraries: $missing"; exit 1; }
        rm -f "$private"/archives/*.deb
    fi
    touch "$folder/lavapipe.done"
fi

# The other drivers of the same package (RADV for AMD's compiler without a card), where they were unpacked.
radv=$(find "$folder/lavapipe" -name 'libvulkan_radeon.so' 2>/dev/null | head -n 1 || true)
if [ -n "$radv" ]; then
    write_json "$folder/radv.json" "$radv" 1.3.0
    radv_json=$folder/radv.json
else
    radv_json=$(ls /usr/share/vulkan/icd.d/radeon_icd*.json 2>/dev/null | head -n 1 || true)
fi

# ---- SwiftShader -----------------------------------------------------------------------------------------------------

if [ "$swiftshader" = yes ] && [ ! -f "$folder/swiftshader.done" ]; then
    prepare_apt
    rm -f "$private"/archives/*.deb
    # Ubuntu's chromium is a snap without files: SwiftShader is then missing and its tests are skipped, saying so.
    say "downloading SwiftShader (Debian's chromium-common)"
    if (cd "$private/archives" && private_apt apt-get download chromium-common) >/dev/null 2>&1; then
        mkdir -p "$folder/swiftshader"
        dpkg-deb --fsys-tarfile "$private"/archives/chromium-common_*.deb |
            tar -x -C "$folder/swiftshader" --wildcards '*libvk_swiftshader.so'
        library=$(find "$folder/swiftshader" -name 'libvk_swiftshader.so' | head -n 1)
        write_json "$folder/swiftshader.json" "$library" 1.3.0
        rm -f "$private"/archives/*.deb
        touch "$folder/swiftshader.done"
    else
        say "chromium-common is not to be had here: tests on SwiftShader will be skipped"
    fi
fi

# ---- what to source --------------------------------------------------------------------------------------------------

libraries=$(cat "$folder/lavapipe.libraries")
{
    echo "# written by tools/drivers.sh"
    echo "export LIKENESS_LAVAPIPE_ICD='$lavapipe_json'"
    [ -f "$folder/swiftshader.json" ] && echo "export LIKENESS_SWIFTSHADER_ICD='$folder/swiftshader.json'"
    [ -n "$radv_json" ] && echo "export LIKENESS_RADV_ICD='$radv_json'"
    echo "export VK_DRIVER_FILES=\"\${VK_DRIVER_FILES:-$lavapipe_json}\""
    echo 'export VK_ICD_FILENAMES="$VK_DRIVER_FILES"'
    if [ -n "$libraries" ]; then
        echo "case \":\${LD_LIBRARY_PATH:-}:\" in"
        echo "    *':$libraries:'*) ;;"
        echo "    *) export LD_LIBRARY_PATH='$libraries'\"\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}\" ;;"
        echo "esac"
    fi
} >"$folder/env.sh.new"
mv "$folder/env.sh.new" "$folder/env.sh"
say "ready: . $folder/env.sh"
