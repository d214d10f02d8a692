#!/bin/sh
# tools/quickstart.sh - from a fresh clone to a picture.
#
#   sh tools/quickstart.sh [-y]
#
# Installs what is missing (tools/install.sh; -y does not ask), builds the program, looks for a Vulkan device, and makes
# a picture of the person in assets/samples. Where there is no GPU, a CPU driver is unpacked beside the build
# (tools/drivers.sh) and used by path, so that nobody's graphics driver changes. Afterwards
#
#   ./likeness ...
#
# runs the program with the driver and model that were found, from any folder.
set -eu
cd "$(dirname "$0")/.."
case ${1:-} in
    '') agreed= ;;
    -y | --yes) agreed=-y ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' tools/quickstart.sh; exit 0 ;;
    *) echo "quickstart.sh: unknown option $1" >&2; exit 2 ;;
esac
say() { echo "quickstart.sh: $*" >&2; }
sh tools/install.sh $agreed

# ---- build -----------------------------------------------------------------------------------------------------------

begin=$(date +%s)
say "building (the first time a minute or two)"
# A build folder that tools/test.sh made keeps its tests.
[ -f build/release/build.ninja ] || cmake --preset release -DLIKENESS_TESTS=OFF >/dev/null
cmake --build --preset release --target likeness_cli -j "$(nproc 2>/dev/null || echo 2)"
say "built in $(($(date +%s) - begin)) s"

# ---- device ----------------------------------------------------------------------------------------------------------

# The device that would be used, as `likeness devices` marks it: "* 0: NAME, DRIVER, KIND".
chosen=$(build/release/likeness devices 2>/dev/null | grep '^\* ' || true)
case $chosen in
    '' | *", CPU")
        say "no GPU that Vulkan can use: taking a CPU driver"
        sh tools/drivers.sh
        environment='. "$root/build/drivers/env.sh"'
        ;;
    *) environment='# The graphics driver of this machine is used.' ;;
esac

cat >likeness.new <<WRAPPER
#!/bin/sh
# Written by tools/quickstart.sh: the program with the driver and the model that were found.
root=\$(dirname "\$(readlink -f "\$0")")
$environment
LIKENESS_MODEL=\${LIKENESS_MODEL:-\$root/assets/cameo}
export LIKENESS_MODEL
exec "\$root/build/release/likeness" "\$@"
WRAPPER
chmod +x likeness.new
mv likeness.new likeness

# ---- picture ---------------------------------------------------------------------------------------------------------

if [ ! -f assets/cameo/model_index.json ]; then
    say "assets/cameo has no model yet; these are the devices:"
    exec ./likeness devices
fi
say '$ ./likeness personalize --reference assets/samples/micah.png \'
say '    --prompt "micah portrait of a person, smile expression, red background" --seed 7 -o portrait.png'
exec ./likeness personalize --reference assets/samples/micah.png \
    --prompt "micah portrait of a person, smile expression, red background" --seed 7 -o portrait.png
