#!/bin/sh
# What build scripts do with the tools of every system, in the directory given. Ends with `done`, or at the first failure.
set -eu
cd "$1"
umask 022
mkdir -p a/b
printf 'one\ntwo\nthree\n' > a/list
cp -p a/list a/b/copy
ln -s ../list a/b/link
ln a/list a/hard
mv a/b/copy a/b/moved
touch -d '2001-02-03 04:05:06 UTC' a/b/moved
chmod 0751 a/b/moved
test "$(stat -c %a a/b/moved)" = 751
test "$(stat -c %Y a/b/moved)" = 981173106
sort < a/list | sed 's/t/T/' | grep -c T > count
test "$(cat count)" = 2
tar -cf all.tar a
mkdir out
tar -xpf all.tar -C out
cmp a/list out/a/b/link
test "$(stat -c %a out/a/b/moved)" = 751
find out -type f -exec wc -c {} + > sizes
cat > here <<END
$(head -n 1 a/list)
END
test "$(cat here)" = one
mktemp -d "${TMPDIR:-/tmp}/tour.XXXXXX" > temporary
rmdir "$(cat temporary)"
: > /dev/null
(exit 3) || test $? = 3
rm -r a out
echo done
