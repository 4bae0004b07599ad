# Files and directories made, copied, moved, linked, cut, joined and removed.
umask 027
mkdir -p a/b/c d && mkdir -m 1777 sticky && mkdir a 2>&1
printf 'one\ntwo\nthree\n' > a/file; printf '' > a/empty
dd if=/dev/zero of=a/zeroes bs=1000 count=7 status=none; dd if=a/file of=a/zeroes bs=1 seek=100 count=5 conv=notrunc status=none
ln -s file a/to-file; ln -s ../a d/up; ln -s nothing a/to-nothing; ln a/file a/b/hard; ln a/file a/b/hard 2>&1; ln -sfn c a/b/again; ln -sfn ../c a/b/again
ln a d/hard 2>&1; ln a/to-file a/b/link-itself
touch -d '2020-01-02 03:04:05.678' a/file; touch -h -d '2021-01-01' a/to-file; touch -r a/file a/empty; touch -c absent
mkfifo -m 640 a/fifo; mknod a/other p
chmod 640 a/file; chmod u+x,g-r a/empty; chmod -R o= a/b; chmod 000 a/zeroes; chmod 600 a/zeroes
cp -a a copied; cp -rL d/up followed 2>/dev/null || true; cp --preserve=mode a/file mode; cp -s "$PWD/a/file" symbolic; cp -l a/file linked
cp a/file d; cp a/file d/file; cp -n a/empty d/file; cp -u a/empty d/file; cp --backup=numbered a/empty d/file; cp -f a/file symbolic 2>&1
cp absent d 2>&1; cp a d/x 2>&1; cp a/file a/file 2>&1; cp a/file absent/x 2>&1
mv d/file d/moved; mv -n a/empty d/moved; mv copied/b copied/c-new; mv copied/c-new copied/file 2>&1; mv copied copied/inside 2>&1; mv -T copied d/copied; mv --exchange mode linked 2>/dev/null || true
mv absent d 2>&1; mv d/up d/down; mv followed d/ 2>/dev/null || true
install -D -m 751 a/file installed/deep/file; install -d -m 700 installed/dir; install -C a/file installed/deep/file
mktemp -p d name.XXXX > made; mktemp -d -p d dir.XXXXXX >> made; test -f "$(head -1 made)" && test -d "$(tail -1 made)" && echo made; rm -r $(cat made) made
truncate -s 5 d/moved; truncate -s +10 d/moved; truncate -s 4096 new; truncate -s 3 absent/x 2>&1; truncate -r a/file -s +1 new
split -b 4 a/file part-; split -n l/2 -d a/file line-; sort -r -o a/b/sorted a/file; sort -o a/b/sorted a/b/sorted; sort a/file | tee d/tee1 d/tee2 | tee -a d/tee1 > /dev/null
shuf -i 1-1 -o d/shuffled; csplit -s -f cut- a/file 2; paste a/file a/file > d/pasted; comm a/file a/b/sorted > d/common 2>/dev/null; tac a/file > d/backwards
cat a/file a/empty - < a/b/sorted; head -c 3 a/file; tail -n 1 a/file; wc a/file a/zeroes; cksum a/zeroes; sum a/file; od -c a/empty; cmp a/file a/b/hard && echo same; cmp a/file d/pasted
cat a 2>&1; cat absent 2>&1; cat a/file/x 2>&1; cat a/to-nothing 2>&1; echo x > a 2>&1; echo x > a/file/ 2>&1; echo x > absent/x 2>&1; echo through > a/to-nothing; cat a/nothing
: > "$(printf 'odd \377 name\nof two lines')"; : > ./-dash; rm -- -dash; mkdir "$(printf 'x%.0s' $(seq 255))"; mkdir "$(printf 'x%.0s' $(seq 256))" 2>&1
ls -A1 --quoting-style=c . a d; ls -l a/absent 2>&1; stat -c '%A %h %s %n' a/* | sort; readlink -f d/down/to-file | sed "s,$PWD,.,"; realpath --relative-to=. d/down/b/c; test -e a/to-file && test -L a/to-file && echo link
rmdir a 2>&1; rmdir -p installed/dir 2>&1; rmdir absent 2>&1; rm a 2>&1; rm absent 2>&1; rm -f absent; unlink a/other; unlink a 2>&1; unlink a/b/link-itself; link a/file a/linked; rm -d a/b/c
find . -name 'part-*' -delete; find a -type l | sort; find . -newer a/file -name empty; find a -empty -type f; find d -name 'tee*' -exec rm {} +; find d -maxdepth 1 -name 'copied' -exec chmod -R u+w {} \; -exec rm -rf {} \;
mkdir -p deep/$(printf 'd/%.0s' $(seq 60)) && rm -rf deep; mkdir gone && cd gone && rmdir ../gone && touch x 2>&1; cd ..; true
sync -f . ; df . > /dev/null; du -a a | awk '{print $2}' | sort; nohup true; timeout 5 cat a/file; tee nothing-in < /dev/null; chown "$(id -u):$(id -g)" a/file; chgrp "$(id -g)" a; chown 12345 absent 2>&1; true
