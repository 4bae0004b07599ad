# Redirections of every kind, here-documents, FIFOs, subshells, traps.
echo one > file; echo two >> file; cat < file; cat <> file; echo three 1<> file; cat file; exec 3> third; echo to three >&3; exec 3>&-; cat third
set -C; (echo no > file) 2>&1; echo yes >| file; set +C; cat file; (: < absent) 2>&1; (: > absent/x) 2>&1; (echo x > .) 2>&1; (: < .; echo opened); (read line < .) 2>&1 || echo unread
cat <<END
a here-document, $((1 + 2))
END
cat <<'END' > here
not $expanded
END
cat here; cat <<-END | tr a-z A-Z
	a tab less
	END
exec 4< file 5< here; cat <&4; cat /dev/fd/5 /proc/self/fd/5; cat /dev/stdin < here; echo out > /dev/stdout; echo err > /dev/stderr; (echo to one > /dev/fd/1) | cat; exec 4<&- 5<&-; cat /dev/fd/9 2>&1
mkfifo pipe; (for i in 1 2 3 4 5; do echo "line $i"; done > pipe) & while read line; do echo "read $line"; done < pipe; wait
cat pipe & echo through > pipe; wait; exec 6<> pipe; echo kept >&6; read line <&6; echo "$line"; exec 6>&-; (sleep 0.05; echo late > pipe) & cat < pipe; wait
mkfifo a b; (while read n; do test "$n" -lt 40 || break; echo $((n + 1)); done < a > b) & (echo 0; while read n; do echo $((n + 1)); done < b) > a; wait
trap 'echo usr1' USR1; kill -USR1 $$; trap 'echo bye' EXIT; (exit 3); echo $?; sh -c 'exit 4' ; echo $?; sh -c 'kill -TERM $$'; echo $?
cat /dev/null; : > /dev/null; echo x > /dev/full 2>&1; head -c 4 /dev/zero | od -An -c; test -r /dev/urandom && echo random; test -c /dev/null && echo device; test -p pipe && echo fifo; test -w file && echo writable
umask 077; : > private; umask 000; : > public; mkdir wide; umask 022; cd wide; : > ../wide/inside; cd ..; for name in p*c w*; do echo "$name"; done; . ./here 2>/dev/null; printf 'echo sourced' > source; . ./source; printf '#!/bin/sh\necho "script $1 $0"\n' > script; chmod +x script; ./script one; ./file 2>&1; echo $?; PATH=. script two; ls absent 2> errors; cat errors; ls >/dev/null 2>&1 absent; echo $?
(cd wide && pwd | sed 's,.*/,,'; cd absent 2>&1); (ulimit -n 8; cat file); (ulimit -f 1; dd if=/dev/zero of=limited bs=1024 count=600 2>&1; echo $?) > limits 2>&1; wc -c < limited; echo "$(cat file)$(cat < here)"; x=$(: 3> made-by-substitution); test -e made-by-substitution && echo made
