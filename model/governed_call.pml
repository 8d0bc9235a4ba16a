/* The governed call, from claim to body, and the kill switch (promises 3 and 4). Run with `make model`.
 *
 * Two callers, in processes of their own, try to run two actions, each of them either action, up to three times. An approver approves. A
 * killer turns the switch on once. A caller may crash anywhere and start again; it may stand still anywhere, because every step may be
 * followed by any number of steps of the others: that is a process stopped with SIGSTOP, and continued.
 *
 * Processors are modelled where the design depends on them: what a caller stores in its slot goes through a buffer, and can be read by
 * others only once it left it. Its own loads do not wait for that.
 *
 * Mutants, each of which must be found:
 *   CLAIM_NOT_ATOMIC  looking whether a permit is taken, and taking it, are two steps
 *   NO_BARRIER        the killer returns once the switch is written
 *   NO_WAIT           the killer does not wait for what is in the buffers
 *   NO_REVOKE         the killer gives up waiting for a call at its check, and does not revoke it
 */

#define CALLERS 2
#define ACTIONS 2
#define IDLE 0
#define CHECKING 1
#define BEGUN 2

bool approved[ACTIONS];
bool claimed[ACTIONS];
byte ran[ACTIONS];

bool on;                    /* the record in the switch file */
bool returned;              /* kill() has returned */

chan stores[CALLERS] = [3] of { byte, byte };   /* the buffer: use of the slot, state */
byte use[CALLERS];          /* the slot in memory: which use of it, and its state */
byte state[CALLERS];
byte revoked[CALLERS];      /* the use that was revoked; 0 is none */
byte listed[CALLERS];       /* the use that the killer's answer names; 0 is none */
bool alive[CALLERS] = true; /* holds the lock of its liveness file */

inline drain(c) {
    do
    :: len(stores[c]) > 0 -> stores[c] ? use[c], state[c]
    :: else -> break
    od
}

/* Time passes: all that was stored before has reached memory. */
inline settle() {
#ifndef NO_WAIT
    atomic { drain(0); drain(1) }
#else
    skip
#endif
}

/* Memory catches up whenever it likes. */
active proctype memory() {
end:
    do
    :: stores[0] ? use[0], state[0]
    :: stores[1] ? use[1], state[1]
    od
}

active proctype approver() {
    byte a = 0;
    do
    :: a < ACTIONS -> approved[a] = true; a++
    :: break
    od
}

proctype caller(byte c) {
    byte a;
    byte mine = 0;          /* this use of the slot; it counts on in the process that comes after a crash */
    byte tries = 0;
    bool stopped;

again:
    if
    :: tries == 3 -> goto out
    :: else -> tries++
    fi;
    if
    :: a = 0
    :: a = 1
    fi;

    /* Claim, once it is approved. */
    if
    :: approved[a]
    :: goto again
    fi;
#ifdef CLAIM_NOT_ATOMIC
    if
    :: claimed[a] -> goto again
    :: !claimed[a]
    fi;
    claimed[a] = true;
#else
    atomic {
        if
        :: claimed[a] -> goto again
        :: else -> claimed[a] = true
        fi
    }
#endif
    if
    :: goto crash
    :: skip
    fi;

    /* The last check: announce, read the switch, begin, look whether it was revoked. */
    mine++;
    stores[c] ! mine, CHECKING;
    stopped = on;
    if
    :: stopped -> stores[c] ! mine, IDLE; goto again
    :: else
    fi;
    if
    :: goto crash
    :: skip
    fi;
    stores[c] ! mine, BEGUN;
    if
    :: revoked[c] == mine -> stores[c] ! mine, IDLE; goto again
    :: revoked[c] != mine
    fi;

    /* The first statement of the body. */
    atomic {
        assert(!returned || listed[c] == mine);
        ran[a]++;
        assert(ran[a] == 1)
    };
    if
    :: goto crash
    :: skip
    fi;
    stores[c] ! mine, IDLE;
    goto again;

crash:  /* The kernel drops the lock; another process starts, with a table of its own. What was claimed stays claimed. */
    atomic { alive[c] = false; drain(c); state[c] = IDLE };
    atomic { alive[c] = true };
    goto again;

out:
    skip
}

/* Reads one slot: a call at its check is waited for, or given up. */
inline look(c) {
    settle_once = false;
    do
    :: atomic { alive[c] && state[c] == BEGUN -> listed[c] = use[c] }; break
    :: !alive[c] || state[c] == IDLE -> break
    :: alive[c] && state[c] == CHECKING && !settle_once ->
        seen = use[c];
        if
        :: state[c] != CHECKING || use[c] != seen      /* it went on meanwhile */
        :: settle_once = true                          /* patience is over */
        fi
    :: alive[c] && state[c] == CHECKING && settle_once ->
#ifndef NO_REVOKE
        revoked[c] = seen;
        settle();
#endif
        if
        :: atomic { alive[c] && state[c] == BEGUN && use[c] == seen -> listed[c] = seen }
        :: !(alive[c] && state[c] == BEGUN && use[c] == seen)
        fi;
        break
    od
}

active proctype killer() {
    bool settle_once;
    byte seen;
    on = true;
#ifndef NO_BARRIER
    settle();
    look(0);
    look(1);
#endif
    returned = true
}

init {
    atomic { run caller(0); run caller(1) }
}
