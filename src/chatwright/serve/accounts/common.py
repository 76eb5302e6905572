"""Passwords that are guessed first. Those of less than ten characters are refused anyway, but
stand here as the core of longer ones: "password" of "password123!".
"""

from __future__ import annotations

_WORDS = """
123456789a 1234567890 0123456789 1234567890a 12345678910 123456789012 0987654321 9876543210
1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx3edc q1w2e3r4t5 q1w2e3r4t5y6 zaq12wsxcde3 1a2b3c4d5e a1b2c3d4e5
abc123abc123 abcd1234 abcdefghij abcdefghijk aaaaaaaaaa 1111111111 5201314520 1314520520 qwerty
qwertyuiop qwertzuiop azertyuiop qwerty123456 qwertyqwerty qwert12345 asdfghjkl asdfghjkl;
asdfasdfasdf asdf1234asdf zxcvbnm zxcvbnmasdf qazwsxedc qazwsxedcrfv poiuytrewq password passwort
passw0rd p@ssword p@ssw0rd pa$$word passwordpassword motdepasse contraseña contrasena parola
wachtwoord mypassword yourpassword thepassword newpassword oldpassword password1234 password12345
changeme changemenow changeit letmein letmeinnow letmeinplease welcome welcomeback welcome123
iloveyou iloveyousomuch iloveyou123 ilovegod trustno administrator admin adminadmin adminpassword
superadmin superuser rootroot rootpassword root toor guest guestguest default defaultpassword
secret secretsecret topsecret supersecret mysecret secretpassword master masterpassword testtest
testtesttest testpassword test user username useruser login loginlogin access monkey monkeymonkey
dragon dragondragon shadow sunshine sunshine123 princess princess123 football footballer baseball
basketball superman batman spiderman starwars pokemon pikachu michael jennifer jessica charlie
liverpool chelsea manchester manchesterunited arsenal barcelona realmadrid juventus computer
internet samsung google facebook linkedin microsoft chatgpt chatwright openai whatever nothing
freedom mustang corvette ferrari porsche mercedes harley blink182 metallica nirvana slipknot
cocacola chocolate butterfly strawberry cheesecake cookie sweetheart babygirl lovelylovely forever
foreverlove jesuschrist godisgood blessed hellohello helloworld hello helloworld123 qwerty12
correcthorse correcthorsebatterystaple woaini woaini1314 woaini520 woaini5201314 woaiwojia nihao
nihaonihao zhongguo wodemima mima123456 woshishui wangyuting zhangwei wo5201314 a123456789
aa123456789 aa12345678 q123456789 abc123456789 abc1234567 qq123456789 as123456789 asd123456789
z123456789
"""

COMMON = frozenset(_WORDS.split())
