#!/bin/sh
# Asks by a notification; see docs/src/asking.md.
question=$(LC_ALL=C tr -c ' -~\n' '?' | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g')
export DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$(id -u)/bus"
answer=$(notify-send --wait --urgency=critical --action=yes=Allow --action=no=Refuse 'supervise asks' "$question")
[ "$answer" = yes ]
